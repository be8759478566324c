"""How long a picture that comes now would wait: judged by how fast answers come while there is work."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

LEARNT: Final = 1 / 16
"""Share of the newest interval in the mean: the last few dozen answers count."""
MOST_TIMES: Final = 8.0
"""So many times the mean an interval counts at most: a stage that was away is not slow for good."""


class Pace:
    """Counts the pictures in the stages and the time from one answer to the next."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is known yet: nobody waits.

        Args:
            clock: Seconds, never going back.
        """
        self._clock = clock
        self._working = 0
        self._interval_s = 0.0
        self._last_s = 0.0  # of the last answer, or when there was work again

    @contextmanager
    def picture(self) -> Iterator[None]:
        """Around one picture's stay in the stages; one that fails is no answer."""
        if not self._working:
            self._last_s = self._clock()
        self._working += 1
        try:
            yield
        except BaseException:
            self._working -= 1
            raise
        self._working -= 1
        now_s = self._clock()
        interval_s = now_s - self._last_s
        if self._interval_s:
            interval_s = min(interval_s, MOST_TIMES * self._interval_s)
        self._interval_s += LEARNT * (interval_s - self._interval_s)
        self._last_s = now_s

    @property
    def wait_s(self) -> float:
        """Until a picture that comes now would be answered; 0 when it would be alone."""
        return (self._working + 1) * self._interval_s if self._working else 0.0
