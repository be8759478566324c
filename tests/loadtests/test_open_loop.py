import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from loadtests.open_loop import report
from serve_app.advise.load import Request, at_rate, with_clients
from serve_app.advise.outcome import Outcome


@asynccontextmanager
async def serving(*, takes_s: float, at_once: int = 1000, status: int = 200) -> AsyncIterator[str]:
    """A server on this event loop that works on `at_once` requests at a time."""
    places = asyncio.Semaphore(at_once)

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        async with places:
            await asyncio.sleep(takes_s)
        return web.Response(status=status)

    app = web.Application()
    app.router.add_post("/detect", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/detect"
    await runner.cleanup()


async def test_a_server_that_keeps_up_is_measured_as_it_is() -> None:
    async with serving(takes_s=0.05) as url:
        result = await at_rate([Request(url, b"x")], rate=40, seconds=1)
    assert len(result.latencies_ms) == 40
    assert min(result.latencies_ms) >= 50


async def test_waiting_behind_a_slow_server_counts_from_the_schedule() -> None:
    async with serving(takes_s=0.1, at_once=1) as url:  # 10 a second, asked for 20
        result = await at_rate([Request(url, b"x")], rate=20, seconds=1)
    # The last is due at 0.95 s and is answered at 2 s, though it takes 0.1 s.
    assert max(result.latencies_ms) > 950
    assert result.failures == 0


async def test_sheds_and_errors_are_counted_apart_from_answers() -> None:
    async with serving(takes_s=0, status=503) as url:
        shed = await at_rate([Request(url, b"x")], rate=50, seconds=0.2)
    async with serving(takes_s=0, status=500) as url:
        failed = await at_rate([Request(url, b"x")], rate=50, seconds=0.2)
    gone = await at_rate([Request(url, b"x")], rate=50, seconds=0.2)
    assert (shed.sheds, shed.errors.total(), shed.answers) == (10, 0, 0)
    assert (failed.sheds, failed.errors) == (0, {"500": 10})
    assert gone.errors.total() == 10
    assert "0 answers, 10 sheds, 0 errors" in report(50.0, shed)


async def test_a_closed_loop_sends_no_more_than_it_has_clients() -> None:
    async with serving(takes_s=0.05) as url:
        result = await with_clients([Request(url, b"x")], clients=4, seconds=1)
    assert result.failures == 0
    assert 20 <= result.answers <= 4 * 20 + 4


def test_the_report_has_the_ratio_of_the_percentiles() -> None:
    outcome = Outcome(10.0, latencies_ms=[10.0] * 98 + [30.0] * 2, late_ms=[0.1] * 100)
    assert "100 answers, 0 sheds, 0 errors: p50 10.0 ms, p99 30.0 ms, p99/p50 3.00" in report(10.0, outcome)
