import asyncio
import contextlib
from collections.abc import Mapping

from serve_app.ratelimit.client import RateLimiter
from serve_app.ratelimit.decision import Decision
from serve_app.ratelimit.lease import Grants, Order
from serve_app.ratelimit.ledger import Ledger
from serve_app.ratelimit.limit import RateLimit

PERIOD_S = 60.0


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class NearbyLedger:
    """A ledger in the same process, with an event loop's turn on the way; remembers what it was sent."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.orders: list[Order] = []
        self.error: BaseException | None = None
        self.answers = asyncio.Event()  # cleared: it hangs
        self.answers.set()
        self.in_flight = 0
        self.most_in_flight = 0

    async def take(self, order: Order) -> Grants:
        self.orders.append(order)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(0)
            await self.answers.wait()
            if self.error is not None:
                raise self.error
            return self._ledger.take(order)
        finally:
            self.in_flight -= 1


class Service:
    """A ledger and the limiters of some ingress replicas, on one clock."""

    def __init__(
        self, limits: Mapping[str, RateLimit | None], replicas: int = 1, call_timeout_s: float = 30.0
    ) -> None:
        self.clock = Clock()
        self.ledger = Ledger(limits, clock=self.clock)
        self.port = NearbyLedger(self.ledger)
        self.limiters = [
            RateLimiter(limits, self.port, clock=self.clock, call_timeout_s=call_timeout_s)
            for _ in range(replicas)
        ]

    @property
    def limiter(self) -> RateLimiter:
        return self.limiters[0]


async def take(limiter: RateLimiter, subject: str = "a", route: str = "detect") -> Decision:
    decision = await limiter.take(route, subject)
    assert decision is not None
    return decision


def take_at_once(limiter: RateLimiter, subject: str = "a", route: str = "detect") -> Decision:
    """As `take`; fails when the caller would have to wait for anything."""
    taking = limiter.take(route, subject)
    with contextlib.closing(taking):
        try:
            taking.send(None)
        except StopIteration as end:
            decision: Decision = end.value
            return decision
    raise AssertionError("the caller has to wait")


async def passed(limiter: RateLimiter, requests: int, subject: str = "a", route: str = "detect") -> int:
    """How many of the requests pass, one after the other."""
    return sum([(await take(limiter, subject, route)).allowed for _ in range(requests)])


def per_minute(count: int) -> dict[str, RateLimit | None]:
    return {"detect": RateLimit(count, PERIOD_S)}


async def settle() -> None:
    """Let calls under way end."""
    for _ in range(10):
        await asyncio.sleep(0)
