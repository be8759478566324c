import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.ratelimit.limit import RateLimit
from serve_app.ratelimit.window import SLICES, WIDTH, SlidingWindow

PERIOD_S = 60.0


def window(count: int) -> SlidingWindow:
    return SlidingWindow(RateLimit(count, PERIOD_S))


def test_a_fresh_subject_gets_exactly_its_limit_in_its_first_period() -> None:
    fresh = window(10)
    assert [fresh.take(1, 7.0 + second) for second in range(60)] == [1] * 10 + [0] * 50


def test_a_burst_comes_back_one_period_later() -> None:
    burst = window(10)
    assert burst.take(10, 5.0) == 10
    assert (burst.remaining(64.9), burst.remaining(65.0)) == (0, 10)


def test_requests_close_together_come_back_together_with_the_last_of_them() -> None:
    close = window(10)
    assert [close.take(5, 0.0), close.take(5, 0.75)] == [5, 5]
    assert (close.remaining(60.5), close.remaining(60.75)) == (0, 10)


def test_a_burst_at_the_end_of_the_first_window_leaves_nothing_for_the_second() -> None:
    late = window(300)
    late.take(1, 0.0)
    assert late.take(299, 59.0) == 299
    assert late.take(300, 61.0) == 1


def test_a_span_holds_less_when_it_asks_for_more() -> None:
    assert window(10).take(25, 0.0) == 10


def test_the_window_ends_a_period_after_the_oldest_request_that_counts() -> None:
    old = window(2)
    assert (old.reset_s(100.0), old.retry_after_s(100.0)) == (0.0, 0.0)
    old.take(1, 100.0)
    assert (old.reset_s(130.0), old.retry_after_s(130.0)) == (30.0, 0.0)
    old.take(1, 130.0)
    assert (old.reset_s(140.0), old.retry_after_s(140.0)) == (20.0, 20.0)
    assert (old.reset_s(160.0), old.retry_after_s(160.0)) == (30.0, 0.0)


def test_tokens_go_back_to_the_slice_they_came_from_and_to_no_other() -> None:
    lender = window(10)
    lender.take(6, 0.0)
    first_s = lender.newest_s
    lender.take(4, 30.0)
    lender.give_back(first_s, 2)
    assert lender.remaining(30.0) == 2
    assert lender.remaining(60.0) == 6  # only the four of the second slice still count
    lender.give_back(first_s, 4)
    assert lender.remaining(60.0) == 6


def test_no_more_goes_back_than_was_taken() -> None:
    lender = window(10)
    lender.take(3, 0.0)
    lender.give_back(lender.newest_s, 100)
    assert lender.remaining(0.0) == 10
    assert lender.reset_s(0.0) == 0.0


takes = st.lists(st.tuples(st.floats(0, 20), st.integers(1, 8)), max_size=200)


@given(takes, st.integers(1, 30))
def test_no_span_of_a_period_holds_more_than_the_limit(steps: list[tuple[float, int]], count: int) -> None:
    sliding, now_s, log = window(count), 0.0, []
    for pause_s, wanted in steps:
        now_s += pause_s
        log.append((now_s, sliding.take(wanted, now_s)))
        assert sum(tokens for at_s, tokens in log if at_s > now_s - PERIOD_S) <= count


@given(takes, st.integers(1, 30))
def test_tokens_are_back_after_retry_after_and_at_most_a_slice_late(
    steps: list[tuple[float, int]], count: int
) -> None:
    sliding, now_s, log = window(count), 0.0, []
    for pause_s, wanted in steps:
        now_s += pause_s
        log.append((now_s, sliding.take(wanted, now_s)))
        late_s = PERIOD_S + PERIOD_S / SLICES
        assert sliding.remaining(now_s) >= count - sum(n for at_s, n in log if at_s > now_s - late_s)
        retry_after_s = sliding.retry_after_s(now_s)
        assert 0 <= retry_after_s <= sliding.reset_s(now_s) <= PERIOD_S + 1e-9
        if not sliding.remaining(now_s):
            now_s += retry_after_s + 1e-9
            assert sliding.remaining(now_s) > 0


def test_a_busy_window_keeps_a_bounded_number_of_slices() -> None:
    busy = window(1_000_000)
    for step in range(20_000):
        busy.take(1, step * 0.01)
    assert len(busy._slices) <= WIDTH * (SLICES + 2)


def test_a_steady_client_gets_its_rate() -> None:
    steady = window(300)
    allowed = sum(steady.take(1, step * 0.1) for step in range(6000))  # asks for twice its limit
    assert allowed == pytest.approx(3000, rel=0.02)
