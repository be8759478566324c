"""What one replica holds for its subjects: leases with tokens left, and refusals that still stand."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from serve_app.ratelimit.decision import Decision
from serve_app.ratelimit.lease import Ask, Grant, Unused

REFUSAL_S: Final = 1.0
"""How long a refusal stands without asking again: a client that hammers on must not load the ledger."""

Key = tuple[str, str]  # route, subject


@dataclass(slots=True)
class Lease:
    """The ledger's last answer about one subject."""

    grant: Grant
    received_s: float
    unused: int
    refused_until_s: float

    def decide(self, limit: int, now_s: float) -> Decision | None:
        """Spend a token; None when the ledger has to be asked."""
        age_s = now_s - self.received_s
        grant = self.grant
        if self.unused and age_s < grant.lease_s:
            self.unused -= 1
            reset_s = max(0.0, grant.reset_s - age_s)
            return Decision(True, limit, grant.remaining + self.unused, reset_s, 0.0)
        if now_s < self.refused_until_s:
            return Decision(False, limit, 0, grant.reset_s - age_s, grant.retry_after_s - age_s)
        return None

    def expected(self, now_s: float) -> int:
        """Tokens the next lease is likely to need: twice a lease that did not last, else what it used."""
        used = self.grant.tokens - self.unused
        return 2 * used if now_s - self.received_s < self.grant.lease_s else used

    def ends_s(self) -> float:
        """When it says nothing any more."""
        return max(self.received_s + self.grant.lease_s, self.refused_until_s)


class Holdings:
    """Leases by route and subject, in the order of their receipt, and the tokens to return."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._leases: OrderedDict[Key, Lease] = OrderedDict()
        self._unused: list[Unused] = []

    def __len__(self) -> int:
        return len(self._leases)

    def get(self, key: Key) -> Lease | None:
        """The last answer about a subject, maybe over."""
        return self._leases.get(key)

    def add(self, ask: Ask, grant: Grant, now_s: float) -> None:
        """Hold the answer to an ask."""
        if len(self._leases) >= self._most:
            self._drop(next(iter(self._leases)))
        is_refusal = grant.tokens < ask.wanted
        refused_until_s = now_s + min(REFUSAL_S, grant.retry_after_s) if is_refusal else now_s
        self._leases[ask.route, ask.subject] = Lease(grant, now_s, grant.tokens, refused_until_s)

    def end(self, key: Key, now_s: float) -> int:
        """Drop what is held for a subject that has to ask again; the tokens it is likely to need then."""
        lease = self._drop(key)
        return lease.expected(now_s) if lease is not None else 0

    def sweep(self, now_s: float) -> float | None:
        """Drop what is over; the seconds until there is more to drop, None when nothing is held."""
        while self._leases:
            key, lease = next(iter(self._leases.items()))
            if (left_s := lease.ends_s() - now_s) > 0:
                return left_s
            self._drop(key)
        return None

    def collect_unused(self) -> tuple[Unused, ...]:
        """What to return with the next call; forgotten here, as nobody knows whether a lost call arrived."""
        unused, self._unused = self._unused, []
        return tuple(unused)

    @property
    def has_unused(self) -> bool:
        """Whether there is something to return."""
        return bool(self._unused)

    def _drop(self, key: Key) -> Lease | None:
        lease = self._leases.pop(key, None)
        if lease is not None and lease.unused:
            self._unused.append(Unused(*key, lease.grant.slice_s, lease.unused))
        return lease
