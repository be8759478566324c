"""The one place where tokens are counted for all replicas."""

import time
from collections.abc import Callable, Mapping
from typing import Final

from serve_app.ratelimit.lease import Ask, Grant, Grants, Order, Unused
from serve_app.ratelimit.limit import RateLimit
from serve_app.ratelimit.subjects import Subjects

MOST_SUBJECTS: Final = 200_000
LEASE_S: Final = 0.5
LEASES_PER_PERIOD: Final = 20
LEASE_PARTS: Final = 16
REPLICA_FORGOTTEN_S: Final = 60.0


class Ledger:
    """Lends tokens to replicas and takes back what they did not use.

    A lease covers the requests that wait, and what the replica expects to need next as long as that is a
    small part of what remains, divided by the number of replicas. So leases shrink to the very requests that
    wait before the limit is reached, and what idle leases hold back then is next to nothing. Who holds a
    lease is not kept: one that never comes back was used, or is counted as if it were.

    Tokens count from the moment they are lent. One may be used a call and a lease later, so a span may hold
    that much more than the limit: while calls are quick, 1 % of a minute, 5 % of a second. A subject's first
    period is exact.
    """

    def __init__(
        self,
        limits: Mapping[str, RateLimit | None],
        *,
        clock: Callable[[], float] = time.monotonic,
        most_subjects: int = MOST_SUBJECTS,
    ) -> None:
        """Begin with nothing counted.

        Args:
            limits: By route; None where it is off.
            clock: Seconds, never going back.
            most_subjects: Windows kept, over all routes.
        """
        limited = {route: limit for route, limit in limits.items() if limit is not None}
        self._routes = {
            route: Subjects(limit, most_subjects // len(limited)) for route, limit in limited.items()
        }
        self._clock = clock
        self._seen_s: dict[str, float] = {}

    def __len__(self) -> int:
        return sum(map(len, self._routes.values()))

    def take(self, order: Order) -> Grants:
        """Take back what is unused, then grant what is left, in the order of the asks."""
        now_s = self._clock()
        replicas = self._count_replicas(order.replica, now_s)
        for unused in order.unused:
            self._take_back(unused)
        return Grants(tuple(self._grant(ask, replicas, now_s) for ask in order.asks), replicas)

    def _grant(self, ask: Ask, replicas: int, now_s: float) -> Grant:
        subjects = self._routes[ask.route]
        window = subjects.active(ask.subject, now_s)
        spare = window.remaining(now_s) // (LEASE_PARTS * replicas)
        tokens = window.take(max(ask.wanted, min(ask.expected, spare)), now_s)
        return Grant(
            tokens,
            min(LEASE_S, subjects.limit.period_s / LEASES_PER_PERIOD),
            window.newest_s,
            window.remaining(now_s),
            window.reset_s(now_s),
            window.retry_after_s(now_s),
        )

    def _take_back(self, unused: Unused) -> None:
        window = self._routes[unused.route].find(unused.subject)
        if window is not None:  # else it was over, or had to make room
            window.give_back(unused.slice_s, unused.tokens)

    def _count_replicas(self, replica: str, now_s: float) -> int:
        self._seen_s[replica] = now_s
        forgotten = [r for r, seen_s in self._seen_s.items() if now_s - seen_s > REPLICA_FORGOTTEN_S]
        for gone in forgotten:
            del self._seen_s[gone]
        return len(self._seen_s)
