import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.metrics import REQUEST_BUCKETS, STAGE_BUCKETS, Counter, Gauge, Histogram, geometric
from deployments.tally import Tally


@given(st.lists(st.floats(0, 100)))
def test_every_value_is_in_the_first_bucket_that_holds_it(observed: list[float]) -> None:
    tally = Tally()
    histogram = Histogram("h", "", buckets=(0.1, 1.0, 10.0), tally=tally)
    histogram.observe(0.0)
    for value in observed:
        histogram.observe(value)
    (series,) = tally.read()
    total, *counts = series.values
    assert total == pytest.approx(sum(observed))
    bounds = [-1.0, 0.1, 1.0, 10.0, float("inf")]
    for low, high, count in zip(bounds, bounds[1:], counts, strict=False):
        assert count == sum(low < value <= high for value in [0.0, *observed])


def test_bounds_are_geometric_and_reach_the_end() -> None:
    assert geometric(0.01, 1.0, 2) == (0.01, 0.0316, 0.1, 0.316, 1.0)
    assert REQUEST_BUCKETS[-1] >= 60 <= STAGE_BUCKETS[-1]
    assert all(high / low < 1.22 for low, high in itertools.pairwise(REQUEST_BUCKETS))


def test_a_gauge_is_what_it_was_last_said_to_be() -> None:
    tally = Tally()
    gauge = Gauge("g", "", tally=tally)
    gauge.set(5)
    gauge.add(-2)
    assert tally.read()[0].values == (3.0,)


def test_labels_are_as_many_as_were_declared() -> None:
    with pytest.raises(ValueError, match="kind"):
        Counter("c_total", "", ("kind",), tally=Tally()).inc()
