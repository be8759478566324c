"""What can be turned in a Ray config, and in which order it is tried."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Literal

Route = Literal["detect", "mask"]
GAIN = 1.03
"""Less than this more may be chance, and another process is never free."""
BATCH_SIZES = (4, 16)
BATCH_WAITS_S = (0.002, 0.005)


@dataclass(frozen=True, slots=True)
class Plan:
    """One setting of everything that is turned."""

    decoders: int = 1
    detectors: int = 1
    maskers: int = 1
    max_batch_size: int = 1
    batch_wait_s: float = 0.0

    @classmethod
    def of(cls, config: dict[str, Any]) -> "Plan":
        """What a Ray config says."""
        found = {deployment["name"]: deployment for deployment in config["applications"][0]["deployments"]}
        batch = found["Detector"].get("user_config") or {}
        return cls(
            decoders=int(found["Decoder"].get("num_replicas", 1)),
            detectors=int(found["Detector"].get("num_replicas", 1)),
            maskers=int(found["Masker"].get("num_replicas", 1)),
            max_batch_size=int(batch.get("max_batch_size", 1)),
            batch_wait_s=float(batch.get("batch_wait_timeout_s", 0.0)),
        )

    def apply(self, config: dict[str, Any]) -> dict[str, Any]:
        """The config with this plan in it."""
        changed = deepcopy(config)
        replicas = {"Decoder": self.decoders, "Detector": self.detectors, "Masker": self.maskers}
        for deployment in changed["applications"][0]["deployments"]:
            if deployment["name"] in replicas:
                deployment.pop("autoscaling_config", None)  # it would turn what is measured
                deployment["num_replicas"] = replicas[deployment["name"]]
            if deployment["name"] == "Detector":
                deployment["user_config"] = {
                    **(deployment.get("user_config") or {}),
                    "max_batch_size": self.max_batch_size,
                    "batch_wait_timeout_s": self.batch_wait_s,
                }
        return changed

    def __str__(self) -> str:
        return (
            f"Decoder × {self.decoders}, Detector × {self.detectors}, Masker × {self.maskers}, "
            f"batches of {self.max_batch_size}, {self.batch_wait_s * 1e3:g} ms wait"
        )


def climb(
    first: Plan, route: Route, most_replicas: int, measure: Callable[[Plan, float], float]
) -> tuple[Plan, float]:
    """The best plan found by turning one thing after the other, each as long as it helps.

    Args:
        first: Where to begin.
        route: /detect leaves the Masker alone.
        most_replicas: Of a stage.
        measure: The highest rate of a plan, given the rate that it has to beat; 0 when it does not.
    """
    best, best_rate = first, measure(first, 0.0)
    for values in _turns(route, most_replicas):
        for change in values(best):
            rate = measure(change, best_rate * GAIN)
            if rate <= best_rate * GAIN:
                break
            best, best_rate = change, rate
    return best, best_rate


def _turns(route: Route, most_replicas: int) -> list[Callable[[Plan], Iterator[Plan]]]:
    """For each thing that can be turned: the plans to try, from the best so far."""

    def replicas(stage: str) -> Callable[[Plan], Iterator[Plan]]:
        def grow(plan: Plan) -> Iterator[Plan]:
            count = getattr(plan, stage) * 2
            while count <= most_replicas:
                yield replace(plan, **{stage: count})
                count *= 2

        return grow

    def batch(plan: Plan) -> Iterator[Plan]:
        yield from (replace(plan, max_batch_size=size) for size in BATCH_SIZES if size > plan.max_batch_size)

    def wait(plan: Plan) -> Iterator[Plan]:
        if plan.max_batch_size > 1:
            yield from (replace(plan, batch_wait_s=wait_s) for wait_s in BATCH_WAITS_S)

    stages = ["detectors", "decoders"] + (["maskers"] if route == "mask" else [])
    return [*(replicas(stage) for stage in stages), batch, wait]
