"""The highest rate that keeps an objective, and where its time goes."""

from collections.abc import Callable
from dataclasses import dataclass

from serve_app.advise.objective import Objective
from serve_app.advise.outcome import Outcome

STEPS = 5
"""Halvings between nothing and saturation: the answer is right to 3 % of it."""
STAGES = {
    "Decoder": ("decode_queue", "decode", "preprocess"),
    "Detector": ("queue", "blob", "inference", "postprocess", "nms"),
    "Masker": ("mask_queue", "mask", "encode"),
    "storage": ("storage",),
}
ELSEWHERE = "Ingress and transport"


@dataclass(frozen=True, slots=True)
class Found:
    """The highest rate that held, and its run."""

    rate: float
    outcome: Outcome


def highest_rate(
    probe: Callable[[float], Outcome], most: float, objective: Objective, to_beat: float = 0.0
) -> Found | None:
    """Halve the interval between what holds and what does not.

    Args:
        probe: A run at a rate.
        most: What clients in a closed loop reached: no rate beyond it can hold for long.
        objective: What must hold.
        to_beat: None is returned at once when this rate does not hold.
    """
    low, found = 0.0, None
    if to_beat:
        if to_beat > most or not objective.holds(outcome := probe(to_beat)):
            return None
        low, found = to_beat, Found(to_beat, outcome)
    high = most
    for _ in range(STEPS):
        if high - low < 0.03 * most:
            break
        middle = (low + high) / 2
        outcome = probe(middle)
        if objective.holds(outcome):
            low, found = middle, Found(middle, outcome)
        else:
            high = middle
    return found


def shares(outcome: Outcome) -> dict[str, float]:
    """Deployment -> its share of the time inside the service, waiting for it included; largest first."""
    means = {stage: sum(values) / len(values) for stage, values in outcome.stages.items()}
    total = means.get("total", 0.0)
    if not total:
        return {}
    found = {name: sum(means.get(stage, 0.0) for stage in stages) / total for name, stages in STAGES.items()}
    found[ELSEWHERE] = max(0.0, 1.0 - sum(found.values()))
    return dict(sorted(found.items(), key=lambda item: -item[1]))
