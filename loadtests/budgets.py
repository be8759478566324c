"""Limits of a YAML file, checked against a record: what a user's continuous integration gates on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from loadtests.record import Record, Run

ANY: Final = "any"
"""In place of a scenario's name: every scenario that was run."""


@dataclass(frozen=True, slots=True)
class Figure:
    """Something that can be limited."""

    loop: str
    of: Callable[[Run], float | None]
    is_least: bool  # the limit is the least it may be; else the most
    unit: str


def _latency(percent: str) -> Figure:
    return Figure("open", lambda run: run.latency_ms.get(percent), False, "ms")


FIGURES: Final = {
    "requests_per_s": Figure("closed", lambda run: run.rate, True, "/s"),
    "p50_ms": _latency("50"),
    "p90_ms": _latency("90"),
    "p99_ms": _latency("99"),
    "p99.9_ms": _latency("99.9"),
    "errors": Figure("open", lambda run: float(run.errors), False, ""),
    "sheds": Figure("open", lambda run: float(run.sheds), False, ""),
    "cpu_ms": Figure("closed", lambda run: run.cpu_ms, False, "ms"),
    "memory_mib": Figure("closed", lambda run: run.memory_mib, False, "MiB"),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One limit and what was measured."""

    scenario: str
    figure: str
    limit: float
    measured: float | None  # None: the run had too few answers, or there was none
    is_kept: bool

    def __str__(self) -> str:
        known = FIGURES[self.figure]
        said = (
            "not known: too few answers"
            if self.measured is None
            else f"{self.measured:.1f} {known.unit}".strip()
        )
        word = "at least" if known.is_least else "at most"
        return f"{self.scenario}, {self.figure}: {said}; {word} {self.limit:g}"


def read_budgets(path: Path) -> dict[str, dict[str, float]]:
    """Scenario -> figure -> limit; SystemExit when the file says something else."""
    try:
        said: Any = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise SystemExit(f"cannot read the budgets in {path}: {error}") from error
    if not isinstance(said, dict) or not all(isinstance(limits, dict) for limits in said.values()):
        raise SystemExit(f"{path}: wanted are scenarios with limits below them; see loadtests/budgets.yaml")
    for scenario, limits in said.items():
        for figure, limit in limits.items():
            if figure not in FIGURES:
                raise SystemExit(f"{path}: {scenario}: no figure {figure}; there are {', '.join(FIGURES)}")
            if not isinstance(limit, int | float) or isinstance(limit, bool):
                raise SystemExit(f"{path}: {scenario}: {figure} wants a number, not {limit!r}")
    return said


def check(record: Record, budgets: Mapping[str, Mapping[str, float]]) -> list[Verdict]:
    """A verdict for each limit. A scenario that was not run, or of too few answers, keeps no limit."""
    verdicts = []
    for name, limits in budgets.items():
        for scenario in record.scenarios if name == ANY else [name]:
            runs = {"closed": record.closed(scenario), "open": record.opened(scenario)}
            for figure, limit in limits.items():
                known = FIGURES[figure]
                run = runs[known.loop]
                measured = None if run is None else known.of(run)
                is_kept = measured is not None and (
                    measured >= limit if known.is_least else measured <= limit
                )
                verdicts.append(Verdict(scenario, figure, float(limit), measured, is_kept))
    return verdicts
