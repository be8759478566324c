"""What came of a load: good answers, sheds and errors kept apart."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

SHED = frozenset({429, 503})
"""A service that refuses in time is at its limit; one that fails is broken."""
PERCENTILES = (50.0, 90.0, 99.0, 99.9)


@dataclass
class Outcome:
    """Counts and times of one run."""

    seconds: float = 0.0  # from the first request that was due to the last one
    latencies_ms: list[float] = field(default_factory=list)  # of good answers, from when each was due
    late_ms: list[float] = field(default_factory=list)  # how long after it was due each was sent
    sheds: int = 0  # answers 429 and 503
    errors: Counter[str] = field(default_factory=Counter)  # by status, or by the name of what broke
    stages: dict[str, list[float]] = field(default_factory=dict)  # as `stages_of` gives them

    @property
    def answers(self) -> int:
        """How many were good."""
        return len(self.latencies_ms)

    @property
    def failures(self) -> int:
        """Sheds and errors."""
        return self.sheds + self.errors.total()

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return self.answers / self.seconds if self.seconds else 0.0

    def percentile(self, percent: float) -> float:
        """Of the latencies, in milliseconds; infinite without a good answer."""
        return percentile(self.latencies_ms, percent)

    def add_failure(self, what: int | str) -> None:
        """A status other than 200, or the name of an exception."""
        if what in SHED:
            self.sheds += 1
        else:
            self.errors[str(what)] += 1


def percentile(values: list[float], percent: float) -> float:
    """Infinite without values."""
    return float(np.percentile(values, percent)) if values else float("inf")
