"""What a soak is judged by, on courses made up."""

from collections.abc import Callable

import pytest

from loadtests.torture import soak as soaking
from loadtests.torture.soak import Sample, Soak, findings, notes
from loadtests.torture.victim import Victim

SAMPLES = 240


@pytest.fixture
def soak() -> Soak:
    """Answered and deleted well, sampled for a while, with no process yet."""
    made = Soak(Victim.__new__(Victim))
    made.statuses["200"], made.deletions["204"] = 100, 10
    made.lockers = [(number * soaking.SAMPLE_S, 200.0) for number in range(SAMPLES)]
    return made


def add(soak: Soak, part: str, memory: Callable[[int], float], threads: Callable[[int], float]) -> None:
    soak.samples[part, len(soak.samples)] = [
        Sample(number * soaking.SAMPLE_S, memory(number), 30.0, threads(number)) for number in range(SAMPLES)
    ]


def broken(soak: Soak) -> list[str]:
    return [finding.promised for finding in findings(soak) if not finding.holds]


def test_what_wobbles_holds(soak: Soak) -> None:
    add(soak, "Masker", lambda number: 500 + number % 7, lambda number: 13 + number % 2)
    assert broken(soak) == []
    assert any("by twelfths 503, 503" in line for line in notes(soak))


def test_what_grows_is_found(soak: Soak) -> None:
    add(soak, "Masker", lambda number: 500 + number / 10, lambda number: 13 + number // 40)
    assert broken(soak) == ["memory of no process grows", "threads of no process grow"]
    assert any("13, 13" in line and line.endswith("18, 18") for line in notes(soak))


@pytest.mark.parametrize(
    ("grows", "promises"), [(1.0, []), (3.0, ["the S3 server grows by 256 MiB at most"])]
)
def test_the_s3_server_may_grow_within_its_bound(soak: Soak, grows: float, promises: list[str]) -> None:
    add(soak, "Ingress", lambda number: 400 + number % 5, lambda number: 20)
    add(soak, "S3 server", lambda number: 100 + grows * number, lambda number: 13)
    assert broken(soak) == promises
