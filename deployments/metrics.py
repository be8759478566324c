"""Metrics: what can be counted, in the few kinds that Prometheus knows, and those of the stages.

Counting is adding to a float in this process's `Tally`. Every metric is listed in METRICS, from which the
reference (docs/metrics.md) is made.
"""

from bisect import bisect_left
from typing import Final, Literal

from deployments.tally import TALLY, Labels, Tally

Kind = Literal["counter", "gauge", "histogram"]
Merge = Literal["sum", "min", "max"]

METRICS: Final[dict[str, "Metric"]] = {}
"""Every metric of the service, by name, once its module was imported."""


def geometric(first: float, last: float, per_decade: int) -> tuple[float, ...]:
    """Upper bounds of buckets from `first` to at least `last`, `per_decade` of them for a factor of ten."""
    bounds: list[float] = []
    while not bounds or bounds[-1] < last:
        bounds.append(float(f"{first * 10 ** (len(bounds) / per_decade):.3g}"))
    return tuple(bounds)


REQUEST_BUCKETS: Final = geometric(0.001, 60.0, 12)  # seconds; 21 % apart, so that quantiles come out well
STAGE_BUCKETS: Final = geometric(0.0001, 60.0, 6)  # seconds


class Metric:
    """One metric. Its labels are given by position, in the order of `labels`."""

    kind: Kind
    slots = 1

    def __init__(self, name: str, text: str, labels: Labels = (), *, tally: Tally = TALLY) -> None:
        self.name = name
        self.text = text
        self.labels = labels
        self._tally = tally
        self._first: dict[Labels, int] = {}
        if tally is TALLY:
            METRICS[name] = self

    def _slot(self, labels: Labels) -> int:
        first = self._first.get(labels)
        if first is None:
            if len(labels) != len(self.labels):
                raise ValueError(f"{self.name} has the labels {self.labels}")
            first = self._first[labels] = self._tally.add_series(self.name, labels, self.slots)
        return first


class Counter(Metric):
    """Only grows. Counts of processes that ended stay part of it.

    Prometheus does not see that a series which was not there grew from 0 to 1. So those without labels are
    there from the start, and `expect` makes others.
    """

    kind: Kind = "counter"

    def __init__(self, name: str, text: str, labels: Labels = (), *, tally: Tally = TALLY) -> None:
        super().__init__(name, text, labels, tally=tally)
        if not labels:
            self.expect()

    def expect(self, *labels: str) -> None:
        """Show that nothing was counted yet."""
        self._slot(labels)

    def inc(self, *labels: str, by: float = 1.0) -> None:
        """Count something."""
        self._tally.values[self._slot(labels)] += by


class Gauge(Metric):
    """What is so now, in every living process together."""

    kind: Kind = "gauge"

    def __init__(
        self, name: str, text: str, labels: Labels = (), *, merge: Merge = "sum", tally: Tally = TALLY
    ) -> None:
        super().__init__(name, text, labels, tally=tally)
        self.merge: Merge = merge

    def set(self, value: float, *labels: str) -> None:
        """Say what is so in this process."""
        self._tally.values[self._slot(labels)] = value

    def add(self, value: float, *labels: str) -> None:
        """More, or less, than before."""
        self._tally.values[self._slot(labels)] += value


class Histogram(Metric):
    """How values are spread. Slots: their sum, one for each bucket, and one above the last bound."""

    kind: Kind = "histogram"

    def __init__(
        self,
        name: str,
        text: str,
        labels: Labels = (),
        *,
        buckets: tuple[float, ...],
        tally: Tally = TALLY,
    ) -> None:
        super().__init__(name, text, labels, tally=tally)
        self.buckets = buckets
        self.slots = len(buckets) + 2

    def observe(self, value: float, *labels: str) -> None:
        """Count one value."""
        values, first = self._tally.values, self._slot(labels)
        values[first] += value
        values[first + 1 + bisect_left(self.buckets, value)] += 1.0


REPLICAS: Final = Gauge(
    "face_api_replicas", "Replicas of a deployment that run on this machine.", ("deployment",)
)
WAITING: Final = Gauge(
    "face_api_stage_waiting", "Pictures that wait in a stage's replicas for a free thread.", ("deployment",)
)
IN_FLIGHT: Final = Gauge(
    "face_api_stage_in_flight",
    "Pictures in a stage's replicas, waiting or at work; what autoscaling goes by.",
    ("deployment",),
)
BATCH_SIZE: Final = Histogram(
    "face_api_batch_size", "Pictures of a batch.", buckets=(1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
)
MODEL: Final = Gauge(
    "face_api_model_info",
    "1 for each model and execution provider that a Detector replica runs.",
    ("model", "provider"),
    merge="max",
)
DECODED_PIXELS: Final = Gauge(
    "face_api_decoded_pixels_in_flight",
    "Pixels of pictures that were decoded and whose requests have not been answered.",
)
STAGE_LOST: Final = Counter(
    "face_api_stage_calls_lost_total",
    "Calls of a stage that failed because its replica ended or none was there.",
    ("deployment",),
)
