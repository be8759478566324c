"""Rate limits as one ingress replica applies them. Knows no Ray: the ledger is behind a protocol."""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol
from uuid import uuid4

from serve_app.metrics import LIMITER_CALLS, LIMITER_FALLBACKS, LIMITER_UP
from serve_app.ratelimit.decision import Decision
from serve_app.ratelimit.held import Holdings, Key
from serve_app.ratelimit.lease import Ask, Grants, Order
from serve_app.ratelimit.limit import RateLimit
from serve_app.ratelimit.local_share import LocalShare

CALL_TIMEOUT_S: Final = 1.0
RETRY_S: Final = 1.0
TIDY_S: Final = 0.1
"""Leases that end so close together return their tokens together."""
MOST_SUBJECTS: Final = 20_000

logger = logging.getLogger("face_api.ratelimit")

Waiters = list[asyncio.Future[None]]


class LedgerPort(Protocol):
    """The way to the ledger."""

    async def take(self, order: Order) -> Grants:
        """As Ledger.take. Whatever it raises counts as an outage."""
        ...


class RateLimiter:
    """Decides from leases; asks the ledger, one call at a time for all who wait, when there is none.

    Who waits is given no token: the call leaves a lease, and those who waited spend from it as everybody
    does. So a caller that was cancelled meanwhile loses nothing. Tokens a lease leaves over go back with the
    next call, or with one of their own once it is over. While the ledger is away requests pass under a local
    share, without waiting, and one call a second looks whether it is back.
    """

    def __init__(
        self,
        limits: Mapping[str, RateLimit | None],
        ledger: LedgerPort,
        *,
        clock: Callable[[], float] = time.monotonic,
        call_timeout_s: float = CALL_TIMEOUT_S,
        most_subjects: int = MOST_SUBJECTS,
    ) -> None:
        """Believe in the ledger until it fails.

        Args:
            limits: By route; None where it is off.
            ledger: Knows the same limits.
            clock: Seconds, never going back.
            call_timeout_s: How long requests wait for the ledger.
            most_subjects: Leases kept, and windows of the local share.
        """
        self.calls = 0  # of the ledger
        self.fallbacks = 0  # decisions under the local share
        self.is_remote = True
        self._counts = {route: None if limit is None else limit.count for route, limit in limits.items()}
        self._ledger = ledger
        self._clock = clock
        self._call_timeout_s = call_timeout_s
        self._replica = uuid4().hex[:8]
        self._holdings = Holdings(most_subjects)
        self._share = LocalShare(limits, most_subjects)
        self._waiting: dict[Key, Waiters] = {}  # for the next call
        self._asked: dict[Key, Waiters] = {}  # in the call under way
        self._calling: asyncio.Task[None] | None = None
        self._retry_at_s = 0.0
        self._tidying: asyncio.TimerHandle | None = None

    async def announce(self, timeout_s: float) -> None:
        """Make this replica known to the ledger, and the way there warm; call it before serving."""
        await self._call((), timeout_s)

    async def take(self, route: str, subject: str) -> Decision | None:
        """Count one request of a subject; None when the route has no limit."""
        count = self._counts[route]
        if count is None:
            return None
        key = (route, subject)
        while (decision := self._decide(key, count)) is None:
            await self._answer(key)
        return decision

    def _decide(self, key: Key, count: int) -> Decision | None:
        now_s = self._clock()
        lease = self._holdings.get(key)
        if lease is not None and (decision := lease.decide(count, now_s)) is not None:
            return decision
        if self.is_remote:
            return None
        if now_s >= self._retry_at_s:
            self._start_calling()
        self.fallbacks += 1
        LIMITER_FALLBACKS.inc()
        return self._share.take(*key, now_s)

    async def _answer(self, key: Key) -> None:
        """Wait until the ledger has answered about a subject, or failed."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters = self._asked.get(key)  # a late comer may find what it needs in the answer
        (self._waiting.setdefault(key, []) if waiters is None else waiters).append(waiter)
        self._start_calling()
        await waiter

    def _start_calling(self) -> None:
        if self._calling is None or self._calling.done():
            self._calling = asyncio.create_task(self._call_until_nobody_waits())

    async def _call_until_nobody_waits(self) -> None:
        while True:
            self._asked, self._waiting = self._waiting, {}
            try:
                await self._call(self._asks(), self._call_timeout_s)
            finally:
                _wake(self._asked.values())
                self._asked = {}
            if not self.is_remote:
                _wake(self._waiting.values())
                self._waiting = {}
            if not self._waiting:
                return

    def _asks(self) -> tuple[Ask, ...]:
        now_s = self._clock()
        asks = []
        for key, waiters in self._asked.items():
            if wanted := sum(not waiter.done() for waiter in waiters):  # the others were cancelled
                asks.append(Ask(*key, wanted, self._holdings.end(key, now_s)))
        self._holdings.sweep(now_s)
        return tuple(asks)

    async def _call(self, asks: tuple[Ask, ...], timeout_s: float) -> None:
        """Ask the ledger and hold its answers, or note that it is away."""
        order = Order(self._replica, asks, self._holdings.collect_unused())
        self.calls += 1
        LIMITER_CALLS.inc()
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._ledger.take(order)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            self._note(error)  # the call was cancelled, not we: Ray does so when a replica goes
            return
        except Exception as error:
            self._note(error)
            return
        self._note(None)
        self._share.divide(answer.replicas)
        now_s = self._clock()
        for ask, grant in zip(asks, answer.grants, strict=True):
            self._holdings.add(ask, grant, now_s)
        self._tidy_later()

    def _note(self, error: BaseException | None) -> None:
        """Remember whether the ledger answers, and log each change once."""
        was_remote, self.is_remote = self.is_remote, error is None
        LIMITER_UP.set(self.is_remote)
        if error is not None:
            self._retry_at_s = self._clock() + RETRY_S
        if was_remote and error is not None:
            event = "the limiter does not answer: rate limits are local"
            logger.warning(json.dumps({"event": event, "reason": f"{type(error).__name__}: {error}"}))
        elif not was_remote and error is None:
            logger.warning(json.dumps({"event": "the limiter answers again: rate limits are shared"}))

    def _tidy_later(self) -> None:
        if self._tidying is None and (left_s := self._holdings.sweep(self._clock())) is not None:
            self._tidying = asyncio.get_running_loop().call_later(max(TIDY_S, left_s), self._tidy)

    def _tidy(self) -> None:
        """Return what leases that are over left unused, also when nobody asks."""
        self._tidying = None
        self._tidy_later()
        if self._holdings.has_unused and self.is_remote:
            self._start_calling()


def _wake(waiting: Iterable[Waiters]) -> None:
    for waiters in waiting:
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
