"""What was measured, as it is kept in a file and read again to be compared."""

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from loadtests.usage import Cost, Usage
from loadtests.wrk import Driven
from serve_app.advise.outcome import PERCENTILES, Outcome, percentile

VERSION = 1
QUEUES = ("decode_queue", "queue", "mask_queue")
BATCH_SIZE = "batch_size"
Loop = Literal["closed", "open"]


@dataclass(frozen=True, slots=True)
class Run:
    """One scenario under one load, for some seconds."""

    scenario: str
    loop: Loop
    generator: str
    load: float  # clients of a closed loop, requests a second that were due in an open one
    seconds: float
    answers: int
    sheds: int
    errors: int
    latency_ms: dict[
        str, float
    ]  # percentile -> milliseconds; those that so few answers say nothing of are missing
    late_ms: float | None = None  # the generator itself, 99th percentile
    stages_ms: dict[str, float] = field(default_factory=dict)  # means; `total` is the time inside the service
    queues_ms: dict[str, dict[str, float]] = field(
        default_factory=dict
    )  # stage -> percentile -> milliseconds
    batch_sizes: dict[str, int] = field(default_factory=dict)  # size -> answers
    usage: dict[str, Usage] = field(default_factory=dict)  # by deployment
    generator_cpu_s: float = 0.0  # processor time of the load generator, which is in no deployment's usage
    others_cpu_s: float = 0.0  # of programs that are no part of the test
    quantiles_ms: list[float] = field(
        default_factory=list
    )  # the 0th to the 100th percentile of an open loop's latency
    admin: dict[str, float] = field(default_factory=dict)  # of the admin traffic beside it

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return self.answers / self.seconds if self.seconds else 0.0

    @property
    def cpu_ms(self) -> float:
        """Processor time of one good answer, the service's processes together."""
        total_s = sum(used.cpu_s for used in self.usage.values())
        return total_s / self.answers * 1e3 if self.answers else 0.0

    @property
    def cores(self) -> float:
        """How many the service and its load generator had."""
        return (sum(used.cpu_s for used in self.usage.values()) + self.generator_cpu_s) / self.seconds

    @property
    def memory_mib(self) -> float:
        """Memory of the whole service."""
        return sum(used.memory_bytes for used in self.usage.values()) / 2**20

    @classmethod
    def of_wrk(cls, scenario: str, clients: int, driven: Driven, cost: Cost) -> "Run":
        """A closed loop."""
        latency = {p: ms for p, ms in driven.percentiles_ms.items() if is_known(float(p), driven.answers)}
        return cls(
            scenario, "closed", "wrk", clients, driven.seconds, driven.answers, driven.sheds, driven.errors,
            latency, usage=cost.usage, generator_cpu_s=cost.generator_cpu_s, others_cpu_s=cost.others_cpu_s,
        )  # fmt: skip

    @classmethod
    def of_outcome(
        cls,
        scenario: str,
        loop: Loop,
        load: float,
        outcome: Outcome,
        cost: Cost,
        admin: Outcome | None = None,
    ) -> "Run":
        """What our own generator saw."""
        stages = outcome.stages
        times = {name: values for name, values in stages.items() if name != BATCH_SIZE}
        batches = Counter(int(size) for size in stages.get(BATCH_SIZE, []))
        return cls(
            scenario,
            loop,
            "aiohttp",
            load,
            outcome.seconds,
            outcome.answers,
            outcome.sheds,
            outcome.errors.total(),
            percentiles(outcome.latencies_ms),
            percentile(outcome.late_ms, 99) if outcome.late_ms else None,
            {name: sum(values) / outcome.answers for name, values in times.items()},
            {name: percentiles(stages[name]) for name in QUEUES if name in stages},
            {str(size): batches[size] for size in sorted(batches)},
            cost.usage,
            cost.generator_cpu_s,
            cost.others_cpu_s,
            [round(percentile(outcome.latencies_ms, p), 2) for p in range(101)] if outcome.answers else [],
            {} if admin is None else _beside(admin),
        )


def _beside(admin: Outcome) -> dict[str, float]:
    return {
        "requests_per_s": admin.rate,
        "p50_ms": admin.percentile(50),
        "p99_ms": admin.percentile(99),
        "failures": float(admin.failures),
    }


def is_known(percent: float, answers: int) -> bool:
    """Whether at least one answer lies beyond the percentile."""
    return answers * (100 - percent) / 100 >= 1 - 1e-9


def percentiles(values: list[float]) -> dict[str, float]:
    """By their names, such as "99.9"; those that so few values say nothing of are left out."""
    return {f"{p:g}": percentile(values, p) for p in PERCENTILES if is_known(p, len(values))}


@dataclass(frozen=True, slots=True)
class Record:
    """A whole load test."""

    facts: dict[str, str]  # date, machine, commit, model and so on, as a report shows them
    runs: list[Run]  # each scenario in a closed loop, then in an open one
    curves: list[Run]  # open loops of the plain scenarios at rising rates
    at_random: list[Run] = field(default_factory=list)  # the same with requests that arrive at random

    def closed(self, scenario: str) -> Run | None:
        """A scenario's run in a closed loop."""
        return self._find(scenario, "closed")

    def opened(self, scenario: str) -> Run | None:
        """A scenario's run at a constant rate."""
        return self._find(scenario, "open")

    def _find(self, scenario: str, loop: str) -> Run | None:
        return next((run for run in self.runs if (run.scenario, run.loop) == (scenario, loop)), None)

    @property
    def scenarios(self) -> list[str]:
        """Names, in the order they were run."""
        return list(dict.fromkeys(run.scenario for run in self.runs))

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps({"version": VERSION, **dataclasses.asdict(self)}, indent=1))

    @classmethod
    def read(cls, path: Path) -> "Record":
        """A file that `write` made; SystemExit for anything else."""
        try:
            said = json.loads(path.read_text())
            if said["version"] != VERSION:
                raise SystemExit(f"{path} is of another version of this command; measure anew")
            lists = ([_run(run) for run in said.get(name, [])] for name in ("runs", "curves", "at_random"))
            return cls(said["facts"], *lists)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise SystemExit(f"{path} is no record of a load test: {error}") from error


def _run(said: Mapping[str, Any]) -> Run:
    return Run(**{**said, "usage": {part: Usage(**used) for part, used in said["usage"].items()}})
