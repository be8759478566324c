from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from serve_app.advise.objective import Objective, ObjectiveError
from serve_app.advise.outcome import Outcome
from serve_app.advise.plan import Plan, climb
from serve_app.advise.search import ELSEWHERE, highest_rate, shares


def run_of(latency_ms: float, sheds: int = 0) -> Outcome:
    return Outcome(1.0, [latency_ms] * 100, sheds=sheds)


@pytest.mark.parametrize(
    ("text", "percent", "most_ms"), [("p99=150ms", 99, 150), ("p50=0.2s", 50, 200), ("p99.9=1s", 99.9, 1000)]
)
def test_an_objective_is_a_percentile_and_a_time(text: str, percent: float, most_ms: float) -> None:
    assert Objective.parse(text) == Objective(percent, most_ms)


@pytest.mark.parametrize("text", ["", "150ms", "p99", "p99=fast", "p100=1s", "p0=1s", "p99=150"])
def test_anything_else_is_a_sentence(text: str) -> None:
    with pytest.raises(ObjectiveError, match="p99=150ms"):
        Objective.parse(text)


def test_a_run_that_shed_or_failed_keeps_no_objective() -> None:
    objective = Objective(99, 100)
    assert objective.holds(run_of(99))
    assert not objective.holds(run_of(101))
    assert not objective.holds(run_of(10, sheds=1))
    assert not objective.holds(Outcome(1.0, [10.0], errors=Counter({"500": 1})))
    assert not objective.holds(Outcome(1.0))


def test_the_highest_rate_is_found_between_what_holds_and_what_does_not() -> None:
    found = highest_rate(lambda rate: run_of(50 if rate <= 61 else 500), 100, Objective(99, 100))
    assert found is not None
    assert 57 < found.rate <= 61
    assert highest_rate(lambda _: run_of(500), 100, Objective(99, 100)) is None


def test_a_plan_that_does_not_beat_the_best_is_dropped_after_one_run() -> None:
    asked: list[float] = []

    def probe(rate: float) -> Outcome:
        asked.append(rate)
        return run_of(500)

    assert highest_rate(probe, 100, Objective(99, 100), to_beat=60) is None
    assert asked == [60]
    assert highest_rate(probe, 50, Objective(99, 100), to_beat=60) is None
    assert asked == [60]


def test_the_bottleneck_is_where_most_of_the_time_goes() -> None:
    outcome = run_of(20)
    outcome.stages = {
        "decode": [2.0],
        "queue": [9.0],
        "inference": [4.0],
        "total": [20.0],
        "batch_size": [1.0],
    }
    found = shares(outcome)
    assert list(found)[:2] == ["Detector", ELSEWHERE]
    assert found["Detector"] == pytest.approx(0.65)
    assert sum(found.values()) == pytest.approx(1.0)


def test_each_thing_is_turned_as_long_as_it_helps() -> None:
    tried: list[Plan] = []

    def measure(plan: Plan, to_beat: float) -> float:
        tried.append(plan)
        rate = 100.0 * min(plan.detectors, 2) + 50.0 * (plan.max_batch_size >= 4)
        return rate if rate >= to_beat else 0.0

    best, rate = climb(Plan(), "detect", 8, measure)
    assert (best, rate) == (Plan(detectors=2, max_batch_size=4), 250.0)
    assert [p.detectors for p in tried[:3]] == [1, 2, 4]  # 4 does not help, so 8 is not tried
    assert all(p.maskers == 1 for p in tried)


def test_a_config_takes_a_plan_and_gives_it_back() -> None:
    config = yaml.safe_load(Path("configs/local.yaml").read_text())
    plan = Plan(2, 3, 4, 8, 0.002)
    changed = plan.apply(config)
    assert Plan.of(config) == Plan()
    assert Plan.of(changed) == plan
    named = {d["name"] for d in changed["applications"][0]["deployments"]}
    assert named == {d["name"] for d in config["applications"][0]["deployments"]}
    assert "2 ms wait" in str(replace(plan))
