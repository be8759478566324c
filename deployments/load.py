"""How much one replica of a stage has to do, for metrics and for autoscaling.

Ray Serve counts only what comes through its handles, and stages are called past them (`deployments.calls`).
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deployments.metrics import IN_FLIGHT, WAITING
from deployments.scaling import IN_FLIGHT_KEY


class StageLoad:
    """The pictures in one replica: those that wait for a thread, and those at work."""

    def __init__(
        self, deployment: str, threads: int | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Nothing to do yet.

        Args:
            deployment: Name of the stage.
            threads: Pictures at work at once; None where somebody else counts those that wait.
            clock: Seconds, never going back.
        """
        self._deployment = deployment
        self._threads = threads
        self._clock = clock
        self._in_flight = 0
        self._picture_seconds = 0.0  # since the last report
        self._changed_s = self._reported_s = clock()
        self._show()

    @contextmanager
    def picture(self) -> Iterator[None]:
        """Around one picture's stay."""
        self._change(1)
        try:
            yield
        finally:
            self._change(-1)

    def report(self) -> dict[str, float]:
        """The mean number of pictures since the last report: what Ray Serve samples now and then is exact."""
        self._change(0)
        elapsed_s = self._changed_s - self._reported_s
        mean = self._picture_seconds / elapsed_s if elapsed_s > 0 else float(self._in_flight)
        self._picture_seconds, self._reported_s = 0.0, self._changed_s
        return {IN_FLIGHT_KEY: mean}

    def _change(self, by: int) -> None:
        now_s = self._clock()
        self._picture_seconds += self._in_flight * (now_s - self._changed_s)
        self._changed_s = now_s
        self._in_flight += by
        self._show()

    def _show(self) -> None:
        IN_FLIGHT.set(self._in_flight, self._deployment)
        if self._threads is not None:
            WAITING.set(max(0, self._in_flight - self._threads), self._deployment)
