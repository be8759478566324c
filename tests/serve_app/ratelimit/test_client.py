import asyncio
import json
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.ratelimit.client import RateLimiter
from serve_app.ratelimit.decision import Decision
from serve_app.ratelimit.ledger import Ledger
from serve_app.ratelimit.limit import RateLimit
from tests.serve_app.ratelimit.fakes import (
    PERIOD_S,
    NearbyLedger,
    Service,
    passed,
    per_minute,
    settle,
    take,
    take_at_once,
)


async def test_a_route_without_a_limit_is_not_counted() -> None:
    service = Service({"detect": None})
    assert await service.limiter.take("detect", "a") is None
    assert service.limiter.calls == 0


async def test_a_route_nobody_declared_is_an_error() -> None:
    with pytest.raises(KeyError):
        await Service(per_minute(10)).limiter.take("typo", "a")


async def test_exactly_the_limit_passes_and_the_headers_count_down() -> None:
    service = Service(per_minute(10))
    decisions = [await take(service.limiter) for _ in range(12)]
    assert [decision.allowed for decision in decisions] == [True] * 10 + [False] * 2
    assert [decision.remaining for decision in decisions] == [*range(9, -1, -1), 0, 0]
    assert decisions[0].headers()["RateLimit-Reset"] == "60"
    assert decisions[-1].headers()["Retry-After"] == "60"


async def test_subjects_and_routes_are_counted_apart() -> None:
    limits = {"detect": RateLimit(3, PERIOD_S), "mask": RateLimit(2, PERIOD_S)}
    limiter = Service(limits).limiter
    assert [await passed(limiter, 5, subject) for subject in "ab"] == [3, 3]
    assert await passed(limiter, 5, route="mask") == 2


async def test_whoever_comes_back_after_retry_after_passes() -> None:
    service = Service(per_minute(10))
    assert await passed(service.limiter, 11) == 10
    service.clock.now_s += 17.3
    refusal = await take(service.limiter)
    service.clock.now_s += int(refusal.headers()["Retry-After"])
    assert await passed(service.limiter, 11) == 10


async def test_two_replicas_let_300_of_400_pass() -> None:
    service = Service(per_minute(300), replicas=2)
    allowed = 0
    for number in range(400):
        service.clock.now_s += 0.005
        allowed += (await take(service.limiters[number % 2])).allowed
    assert 297 <= allowed <= 300
    assert sum(limiter.calls for limiter in service.limiters) < 160


async def test_concurrent_requests_on_two_replicas_are_exact_too() -> None:
    service = Service(per_minute(300), replicas=2)
    decisions = await asyncio.gather(*(take(service.limiters[number % 2]) for number in range(400)))
    assert sum(decision.allowed for decision in decisions) == 300


async def test_ten_a_minute_is_exact_over_replicas_that_do_not_know_each_other() -> None:
    service = Service(per_minute(10), replicas=5)
    assert [await passed(limiter, 3) for limiter in service.limiters] == [3, 3, 3, 1, 0]


async def test_a_busy_subject_far_from_its_limit_rarely_costs_a_call() -> None:
    service = Service(per_minute(1_000_000))
    for _ in range(1000):
        service.clock.now_s += 0.005
        assert (await take(service.limiter)).allowed
    assert service.limiter.calls < 30


async def test_leases_and_refusals_are_used_without_waiting() -> None:
    service = Service(per_minute(50))
    assert await passed(service.limiter, 2) == 2  # the second lease is of two tokens
    assert take_at_once(service.limiter).remaining == 47
    assert await passed(service.limiter, 50) == 47
    assert not take_at_once(service.limiter).allowed


async def test_concurrent_misses_share_one_call_at_a_time() -> None:
    service = Service(per_minute(10))
    subjects = [f"subject-{number % 20}" for number in range(100)]
    decisions = await asyncio.gather(*(take(service.limiter, subject) for subject in subjects))
    assert all(decision.allowed for decision in decisions)
    assert [len(order.asks) for order in service.port.orders] == [20]
    assert {ask.wanted for ask in service.port.orders[0].asks} == {5}


async def ask_while_a_call_is_under_way(service: Service, subjects: str) -> list[Decision]:
    """The first subject's question is on its way to the ledger when the others come."""
    service.port.answers.clear()
    callers = []
    for subject in subjects:
        callers.append(asyncio.create_task(take(service.limiter, subject)))
        await settle()
    service.port.answers.set()
    return await asyncio.gather(*callers)


async def test_other_subjects_wait_for_the_next_call() -> None:
    service = Service(per_minute(10))
    await ask_while_a_call_is_under_way(service, "abc")
    assert [[ask.subject for ask in order.asks] for order in service.port.orders] == [["a"], ["b", "c"]]
    assert service.port.most_in_flight == 1


async def test_a_late_comer_looks_into_the_answer_to_the_call_under_way() -> None:
    service = Service(per_minute(1))
    assert await passed(service.limiter, 1) == 1
    decisions = await ask_while_a_call_is_under_way(service, "aaa")
    assert [decision.allowed for decision in decisions] == [False] * 3
    assert service.limiter.calls == 2


async def test_a_late_comer_asks_itself_when_the_answer_has_nothing_for_it() -> None:
    service = Service(per_minute(10))
    decisions = await ask_while_a_call_is_under_way(service, "aaa")
    assert [(decision.allowed, decision.remaining) for decision in decisions] == [
        (True, 9),
        (True, 8),
        (True, 7),
    ]
    assert [[ask.wanted for ask in order.asks] for order in service.port.orders] == [[1], [2]]


async def test_those_who_wait_for_the_next_call_do_not_make_it_when_the_ledger_fails() -> None:
    service = Service(per_minute(10))
    service.port.error = RuntimeError("gone")
    decisions = await ask_while_a_call_is_under_way(service, "ab")
    assert all(decision.allowed for decision in decisions)
    await settle()
    assert service.limiter.calls == 1


async def test_a_client_that_hammers_on_after_its_limit_costs_a_call_a_second() -> None:
    service = Service(per_minute(10))
    assert await passed(service.limiter, 10) == 10
    calls = service.limiter.calls
    for _ in range(1000):
        service.clock.now_s += 0.01
        assert not (await take(service.limiter)).allowed
    assert service.limiter.calls - calls <= 10


async def test_unused_tokens_go_back_with_the_next_call() -> None:
    service = Service(per_minute(1000), replicas=2)
    greedy, other = service.limiters
    assert await passed(greedy, 30) == 30
    service.clock.now_s += 1.0
    await take(greedy, "somebody else")
    assert service.port.orders[-1].unused
    assert (await take(other)).remaining == 1000 - 30 - 1


async def test_unused_tokens_go_back_although_nobody_asks_again() -> None:
    limits = {"detect": RateLimit(1000, 1.0)}  # leases of 50 ms
    port = NearbyLedger(Ledger(limits))
    limiter = RateLimiter(limits, port)
    assert await passed(limiter, 20) == 20
    async with asyncio.timeout(10):
        while port.orders[-1].asks:
            await asyncio.sleep(0.01)
    assert port.orders[-1].unused


async def test_a_cancelled_caller_loses_no_token_and_does_not_disturb_the_call() -> None:
    service = Service(per_minute(10))
    callers = [asyncio.create_task(take(service.limiter)) for _ in range(4)]
    while not service.port.in_flight:
        await asyncio.sleep(0)
    callers[0].cancel()
    callers[2].cancel()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert [isinstance(result, asyncio.CancelledError) for result in results] == [True, False, True, False]
    assert service.limiter.calls == 1
    assert await passed(service.limiter, 10) == 8


async def test_a_caller_cancelled_just_after_the_answer_came_loses_no_token() -> None:
    service = Service(per_minute(2))
    caller = asyncio.create_task(take(service.limiter))
    while not service.limiter._holdings:
        await asyncio.sleep(0)
    assert not caller.done()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert await passed(service.limiter, 3) == 2


async def test_callers_that_all_left_before_the_call_ask_for_nothing() -> None:
    service = Service(per_minute(10))
    caller = asyncio.create_task(take(service.limiter))
    await asyncio.sleep(0)
    caller.cancel()
    await settle()
    assert [order.asks for order in service.port.orders] == [()]
    assert await passed(service.limiter, 11) == 10


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        json.loads(record.getMessage())["event"]
        for record in caplog.records
        if record.name == "face_api.ratelimit" and record.levelno == logging.WARNING
    ]


AWAY = "the limiter does not answer: rate limits are local"
BACK = "the limiter answers again: rate limits are shared"


@pytest.mark.parametrize("error", [None, RuntimeError("gone"), asyncio.CancelledError()])
async def test_while_the_ledger_hangs_or_fails_a_local_share_applies(
    error: BaseException | None, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service(per_minute(10), 2, call_timeout_s=0.02 if error is None else 30.0)
    for limiter in (*service.limiters, service.limiter):  # the first knows of both then
        await limiter.announce(1.0)
    service.port.error = error
    if error is None:
        service.port.answers.clear()
    assert await passed(service.limiter, 20) == 5
    assert not service.limiter.is_remote
    assert service.limiter.fallbacks == 20
    assert warnings(caplog) == [AWAY]


async def test_requests_do_not_wait_for_a_ledger_known_to_be_away() -> None:
    service = Service(per_minute(10), call_timeout_s=0.02)
    service.port.answers.clear()
    await take(service.limiter)
    await settle()
    service.clock.now_s += 1.0
    assert take_at_once(service.limiter).allowed
    await settle()
    assert service.port.in_flight == 1
    assert take_at_once(service.limiter).allowed


async def test_a_ledger_that_is_away_is_tried_once_a_second(caplog: pytest.LogCaptureFixture) -> None:
    service = Service(per_minute(1000))
    service.port.error = RuntimeError("gone")
    for _ in range(400):
        await take(service.limiter)
        await settle()
        service.clock.now_s += 0.01
    assert service.limiter.calls == 4
    assert [len(order.asks) for order in service.port.orders] == [1, 0, 0, 0]
    assert warnings(caplog) == [AWAY]


async def test_the_shared_limit_applies_again_when_the_ledger_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = Service(per_minute(10))
    service.port.error = RuntimeError("gone")
    assert await passed(service.limiter, 3) == 3
    await settle()
    service.port.error = None
    service.clock.now_s += 1.0
    assert (await take(service.limiter)).allowed  # under the local share; the ledger is tried beside it
    await settle()
    assert service.limiter.is_remote
    assert await passed(service.limiter, 20) == 10
    assert service.limiter.fallbacks == 4
    assert warnings(caplog) == [AWAY, BACK]


async def test_an_outage_opens_the_door_only_once_a_period() -> None:
    service = Service(per_minute(10))
    allowed = 0
    for _ in range(4):
        service.port.error = RuntimeError("gone")
        allowed += await passed(service.limiter, 20, "a")
        await settle()
        service.port.error = None
        service.clock.now_s += 1.0
        await take(service.limiter, "b")
        await settle()
        assert service.limiter.is_remote
    assert allowed == 10


async def test_a_lease_is_spent_although_the_ledger_went_away() -> None:
    service = Service(per_minute(1000))
    assert await passed(service.limiter, 2) == 2  # the second lease is of two tokens
    service.port.error = RuntimeError("gone")
    await take(service.limiter, "b")
    assert not service.limiter.is_remote
    fallbacks = service.limiter.fallbacks
    assert take_at_once(service.limiter, "a").allowed
    assert service.limiter.fallbacks == fallbacks


async def test_announcing_to_a_ledger_that_is_away_does_not_fail() -> None:
    service = Service(per_minute(10))
    service.port.error = RuntimeError("gone")
    await service.limiter.announce(0.01)
    assert not service.limiter.is_remote


async def test_local_subjects_are_bounded() -> None:
    limits = per_minute(10)
    service = Service(limits)
    limiter = RateLimiter(limits, service.port, clock=service.clock, most_subjects=100)
    await asyncio.gather(*(take(limiter, str(number)) for number in range(1000)))
    assert len(limiter._holdings) == 100
    service.port.error = RuntimeError("gone")
    await asyncio.gather(*(take(limiter, str(number)) for number in range(1000, 2000)))
    assert len(limiter._share._routes["detect"]) == 100


requests = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 40), st.floats(0, 0.9)), min_size=1, max_size=60
)


@settings(max_examples=60, deadline=None)
@given(requests, st.sampled_from([1, 7, 10, 60, 300]), st.integers(1, 3))
def test_over_all_replicas_no_more_than_the_limit_passes_and_no_less_when_they_keep_asking(
    steps: list[tuple[int, int, float]], count: int, replicas: int
) -> None:
    async def run() -> int:
        service = Service(per_minute(count), replicas)
        allowed = 0
        for index, number, pause_s in steps:  # under 54 s
            service.clock.now_s += pause_s
            limiter = service.limiters[index % replicas]
            decisions = await asyncio.gather(*(take(limiter) for _ in range(number)))
            allowed += sum(decision.allowed for decision in decisions)
            assert allowed <= count
        for _ in range(4):
            service.clock.now_s += 1.01
            for limiter in service.limiters:
                allowed += await passed(limiter, count)
        return allowed

    assert asyncio.run(run()) == count


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 30), st.floats(0, 20)), max_size=60))
def test_no_span_holds_more_than_the_limit_and_what_one_lease_may_be_late(
    steps: list[tuple[int, int, float]],
) -> None:
    async def run() -> None:
        service, count = Service(per_minute(50), 2), 50
        log: list[tuple[float, int]] = []
        for index, number, pause_s in steps:
            service.clock.now_s += pause_s
            log.append((service.clock.now_s, await passed(service.limiters[index], number)))
            span_s = PERIOD_S - 0.5
            assert sum(n for at_s, n in log if at_s > service.clock.now_s - span_s) <= count

    asyncio.run(run())
