import pytest

from serve_app.pace import Pace


class Clock:
    """Goes on when told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def answer_each(pace: Pace, clock: Clock, seconds: float, count: int) -> None:
    """One picture after the other, nothing waiting."""
    for _ in range(count):
        with pace.picture():
            clock.now_s += seconds
        clock.now_s += 3600  # idle times say nothing


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_nothing_is_known_at_first(clock: Clock) -> None:
    pace = Pace(clock)
    with pace.picture(), pace.picture():
        assert pace.wait_s == 0


def test_a_picture_waits_for_all_that_are_there(clock: Clock) -> None:
    pace = Pace(clock)
    answer_each(pace, clock, 0.1, 200)
    with pace.picture(), pace.picture(), pace.picture():
        assert pace.wait_s == pytest.approx(0.4, rel=1e-3)


def test_several_at_a_time_are_faster_than_one_after_the_other(clock: Clock) -> None:
    pace = Pace(clock)
    for _ in range(100):
        with pace.picture(), pace.picture():
            clock.now_s += 0.1  # both are answered now
    with pace.picture():
        assert 0.05 < pace.wait_s < 0.15


def test_a_slow_service_is_soon_known(clock: Clock) -> None:
    pace = Pace(clock)
    answer_each(pace, clock, 0.01, 100)
    answer_each(pace, clock, 1.0, 32)
    with pace.picture():
        assert pace.wait_s > 1.5
    answer_each(pace, clock, 0.01, 64)
    with pace.picture():
        assert pace.wait_s < 0.1


def test_a_stage_that_was_away_is_not_slow_for_good(clock: Clock) -> None:
    pace = Pace(clock)
    answer_each(pace, clock, 0.05, 100)
    answer_each(pace, clock, 40.0, 1)
    with pace.picture():
        assert pace.wait_s < 0.2


def test_a_failure_is_no_answer(clock: Clock) -> None:
    pace = Pace(clock)
    answer_each(pace, clock, 0.1, 100)
    for _ in range(50):
        with pytest.raises(TimeoutError), pace.picture():
            clock.now_s += 30
            raise TimeoutError
    with pace.picture():
        assert pace.wait_s == pytest.approx(0.2, rel=0.01)


def test_a_picture_that_is_alone_never_waits(clock: Clock) -> None:
    pace = Pace(clock)
    answer_each(pace, clock, 100.0, 100)
    assert pace.wait_s == 0
