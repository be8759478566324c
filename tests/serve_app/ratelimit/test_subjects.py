from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.ratelimit.limit import RateLimit
from serve_app.ratelimit.subjects import Subjects

PERIOD_S = 60.0


def used(subjects: Subjects, subject: str, now_s: float) -> int:
    window = subjects.find(subject)
    return 0 if window is None else subjects.limit.count - window.remaining(now_s)


def test_a_subject_keeps_its_window() -> None:
    subjects = Subjects(RateLimit(10, PERIOD_S), 100)
    subjects.active("a", 0.0).take(3, 0.0)
    assert subjects.active("a", 1.0) is subjects.find("a")
    assert used(subjects, "a", 1.0) == 3
    assert subjects.find("b") is None


def test_a_flood_of_addresses_neither_grows_memory_nor_evicts_those_who_used_up_their_limit() -> None:
    subjects = Subjects(RateLimit(10, PERIOD_S), 1000)
    busy = [f"busy-{number}" for number in range(50)]
    for subject in busy:
        subjects.active(subject, 0.0).take(10, 0.0)
    for number in range(20_000):
        now_s = 1.0 + number * 1e-3
        subjects.active(f"address-{number}", now_s).take(1, now_s)
        assert len(subjects) <= 1000
    assert [used(subjects, subject, 30.0) for subject in busy] == [10] * 50


def test_among_light_subjects_the_one_silent_for_longest_makes_room() -> None:
    subjects = Subjects(RateLimit(100, PERIOD_S), 3)
    for now_s, subject in enumerate("abcad"):
        subjects.active(subject, now_s).take(1, now_s)
    assert [subjects.find(subject) is not None for subject in "abcd"] == [True, False, True, True]


def test_memory_is_bounded_even_when_everybody_used_up_their_limit() -> None:
    subjects = Subjects(RateLimit(10, PERIOD_S), 100)
    for number in range(1000):
        subjects.active(str(number), 0.0).take(10, 0.0)
    assert len(subjects) <= 100
    assert used(subjects, "999", 0.0) == 10


def test_windows_that_are_over_are_swept_as_new_subjects_come() -> None:
    subjects = Subjects(RateLimit(10, PERIOD_S), 10_000)
    for number in range(1000):
        subjects.active(f"old-{number}", 0.0).take(1, 0.0)
    for number in range(1000):
        subjects.active(f"new-{number}", PERIOD_S).take(1, PERIOD_S)
    assert len(subjects) == 1000


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10), st.floats(0, 30)), max_size=200))
def test_the_bound_holds_whoever_asks(steps: list[tuple[int, int, float]]) -> None:
    subjects, now_s = Subjects(RateLimit(10, PERIOD_S), 7), 0.0
    for number, tokens, pause_s in steps:
        now_s += pause_s
        window = subjects.active(str(number), now_s)
        window.take(tokens, now_s)
        assert subjects.find(str(number)) is window
        assert len(subjects) <= 7
