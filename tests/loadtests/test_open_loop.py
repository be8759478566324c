import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
from aiohttp import web

from loadtests.compare.open_loop import OpenLoop, drive
from loadtests.compare.upload import multipart


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
        result = await drive(url, multipart(b"x"), rate=40, seconds=1)
    assert len(result.latencies_ms) == 40
    assert 50 <= np.median(result.latencies_ms) < 90


async def test_waiting_behind_a_slow_server_counts_from_the_schedule() -> None:
    async with serving(takes_s=0.1, at_once=1) as url:  # 10 a second, asked for 20
        result = await drive(url, multipart(b"x"), rate=20, seconds=1)
    # The last is due at 0.95 s and is answered at 2 s, though it takes 0.1 s.
    assert max(result.latencies_ms) > 950
    assert result.failures == 0


async def test_other_answers_than_200_are_failures() -> None:
    async with serving(takes_s=0, status=503) as url:
        result = await drive(url, multipart(b"x"), rate=50, seconds=0.2)
    assert (result.failures, result.latencies_ms) == (10, [])
    assert "10 failures, no good answer" in result.report()


def test_the_report_has_the_ratio_of_the_percentiles() -> None:
    result = OpenLoop(10.0, latencies_ms=[10.0] * 98 + [30.0] * 2, late_ms=[0.1] * 100)
    assert "100 answers, 0 failures: p50 10.0 ms, p99 30.0 ms, p99/p50 3.00" in result.report()
