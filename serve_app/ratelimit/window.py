"""What one subject took within the last period. No clock of its own: every method is told the time."""

from array import array
from typing import Final

from serve_app.ratelimit.limit import RateLimit

SLICES: Final = 60
WIDTH: Final = 3
FIRST_S, LAST_S, TOKENS = range(WIDTH)


class SlidingWindow:
    """Counts tokens in slices of the period, so that no span of one period holds more than the limit.

    The window begins with the oldest request that still counts; a fresh subject gets exactly its limit. The
    tokens of a slice come back one period after its last request: never early, at most a sixtieth late.

    A single count for the whole previous window, weighted by its overlap, would let through twice the limit
    when that window's requests came at its end, and would ask for a Retry-After longer than the period when
    they came at its beginning.
    """

    __slots__ = ("_limit", "_slices", "_used")

    def __init__(self, limit: RateLimit) -> None:
        self._limit = limit
        self._used = 0
        self._slices = array("d")
        """FIRST_S, LAST_S, TOKENS of each slice, oldest first; an array takes a third of what objects do."""

    def take(self, wanted: int, now_s: float) -> int:
        """Count up to `wanted` tokens; how many there were."""
        tokens = min(wanted, self.remaining(now_s))
        if tokens:
            slices = self._slices
            if not slices or now_s - slices[FIRST_S - WIDTH] >= self._limit.period_s / SLICES:
                slices.extend((now_s, now_s, 0.0))
            slices[LAST_S - WIDTH] = now_s
            slices[TOKENS - WIDTH] += tokens
            self._used += tokens
        return tokens

    @property
    def newest_s(self) -> float:
        """Names the slice that the last take was counted in; 0 before the first."""
        return self._slices[FIRST_S - WIDTH] if self._slices else 0.0

    def give_back(self, slice_s: float, tokens: int) -> None:
        """Forget tokens that were taken but not used; they count only while their slice does."""
        slices = self._slices
        for at in range(0, len(slices), WIDTH):
            if slices[at + FIRST_S] == slice_s:
                back = min(tokens, int(slices[at + TOKENS]))
                slices[at + TOKENS] -= back
                self._used -= back
                if not slices[at + TOKENS]:
                    del slices[at : at + WIDTH]
                return

    def remaining(self, now_s: float) -> int:
        """Tokens that may be taken now."""
        slices, oldest_s = self._slices, now_s - self._limit.period_s
        while slices and slices[LAST_S] <= oldest_s:
            self._used -= int(slices[TOKENS])
            del slices[:WIDTH]
        return self._limit.count - self._used

    def reset_s(self, now_s: float) -> float:
        """Seconds until the oldest tokens come back, at most a period; 0 when none are out."""
        self.remaining(now_s)
        return self._slices[LAST_S] + self._limit.period_s - now_s if self._slices else 0.0

    def retry_after_s(self, now_s: float) -> float:
        """Seconds until there is a token; 0 when there is one."""
        return 0.0 if self.remaining(now_s) else self.reset_s(now_s)
