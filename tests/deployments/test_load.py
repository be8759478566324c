import asyncio
from types import SimpleNamespace

import pytest

from deployments.load import StageLoad
from deployments.scaling import by_pictures_in_flight
from deployments.tally import TALLY


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def gauge(name: str, deployment: str) -> float:
    return next(s.values[0] for s in TALLY.read() if (s.metric, s.labels) == (name, (deployment,)))


def test_the_report_is_the_mean_of_the_time_since_the_last_one() -> None:
    clock = Clock()
    load = StageLoad("Test", 2, clock)
    with load.picture():
        clock.now_s += 1.0
        with load.picture(), load.picture():
            clock.now_s += 1.0
        clock.now_s += 2.0
    assert load.report() == {"in_flight": pytest.approx((1 + 3 + 2) / 4)}
    clock.now_s += 1.0
    assert load.report() == {"in_flight": 0.0}


def test_what_exceeds_the_threads_waits() -> None:
    load = StageLoad("Test", 2)
    with load.picture(), load.picture(), load.picture():
        assert gauge("face_api_stage_in_flight", "Test") == 3
        assert gauge("face_api_stage_waiting", "Test") == 1
    assert gauge("face_api_stage_in_flight", "Test") == gauge("face_api_stage_waiting", "Test") == 0


async def test_a_picture_that_is_given_up_leaves() -> None:
    load = StageLoad("Test", 1)

    async def stay() -> None:
        with load.picture():
            await asyncio.sleep(60)

    task = asyncio.create_task(stay())
    await asyncio.sleep(0)
    assert gauge("face_api_stage_in_flight", "Test") == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert gauge("face_api_stage_in_flight", "Test") == 0


@pytest.mark.parametrize(
    ("reported", "wanted"),
    [({}, 3.0), ({"in_flight": {"a": 3.0, "b": 5.0}}, 4.0), ({"in_flight": {"a": 0.0, "b": 0.0}}, 0.0)],
)
def test_replicas_are_as_many_as_the_pictures_in_flight_need(
    reported: dict[str, dict[str, float]], wanted: float
) -> None:
    context = SimpleNamespace(
        aggregated_metrics=reported,
        target_num_replicas=3,
        config=SimpleNamespace(target_ongoing_requests=2),
    )
    assert by_pictures_in_flight(context) == (wanted, {})
