"""From rounds to the table: medians over rounds, and ours as a multiple of theirs."""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

OURS = "ours"
T = TypeVar("T")
HEADER = (
    "| model | route | clients | server | requests/s | p50 ms | p99 ms | CPU ms/request | MiB | failures |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True, slots=True)
class Round:
    """One server under load for some seconds."""

    model: str
    route: str
    clients: int
    server: str
    answers: int
    failures: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_s: float  # of all processes of the server
    peak_bytes: int  # proportional set size of all of them

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return self.answers / self.seconds

    @property
    def cpu_ms(self) -> float:
        """Processor time of one good answer."""
        return self.cpu_s / self.answers * 1e3 if self.answers else math.nan

    @property
    def peak_mib(self) -> float:
        """Peak memory in MiB."""
        return self.peak_bytes / 2**20


@dataclass(frozen=True, slots=True)
class BareRound:
    """The same stages without HTTP and Ray, one process for each core."""

    model: str
    route: str
    rate: float  # pictures a second of all processes


MEASURES: tuple[tuple[Callable[[Round], float], str], ...] = (
    (lambda r: r.rate, ".1f"),
    (lambda r: r.p50_ms, ".1f"),
    (lambda r: r.p99_ms, ".1f"),
    (lambda r: r.cpu_ms, ".1f"),
    (lambda r: r.peak_mib, ".0f"),
)


def table(rounds: Sequence[Round], bare: Sequence[BareRound]) -> str:
    """A Markdown table: a line for each server and load, then for each other server ours ÷ theirs."""
    lines = [HEADER]
    for model, route in _unique((r.model, r.route) for r in rounds):
        here = [r for r in rounds if (r.model, r.route) == (model, route)]
        for clients in sorted({r.clients for r in here}):
            lines += _lines_of_load([r for r in here if r.clients == clients])
        limits = [b.rate for b in bare if (b.model, b.route) == (model, route)]
        if limits:
            lines.append(_bare_line(model, route, here, statistics.median(limits)))
    return "\n".join(lines)


def _lines_of_load(rounds: list[Round]) -> list[str]:
    """What each server did with the same load."""
    names = _unique(r.server for r in rounds)
    medians = {name: _medians([r for r in rounds if r.server == name]) for name in names}
    first = f"| {rounds[0].model} | /{rounds[0].route} | {rounds[0].clients} "
    lines = []
    for name in names:
        figures = [format(v, spec) for v, (_, spec) in zip(medians[name], MEASURES, strict=True)]
        failures = sum(r.failures for r in rounds if r.server == name)
        lines.append(first + f"| {name} | {' | '.join(figures)} | {failures} |")
    for name in names:
        if name != OURS and OURS in medians:
            ratios = [_ratio(a, b) for a, b in zip(medians[OURS], medians[name], strict=True)]
            lines.append(first + f"| **ours ÷ {name}** | {' | '.join(ratios)} | |")
    return lines


def _bare_line(model: str, route: str, rounds: list[Round], limit: float) -> str:
    """The bare loop, and the share of it that ours reaches at its highest load."""
    ours = [r for r in rounds if r.server == OURS]
    most = max((r.clients for r in ours), default=0)
    rates = [r.rate for r in ours if r.clients == most]
    share = f" (ours at {most}: {statistics.median(rates) / limit:.0%})" if rates else ""
    return f"| {model} | /{route} | | bare loop | {limit:.1f}{share} | | | | | |"


def warnings(rounds: Sequence[Round]) -> list[str]:
    """What makes a figure worth less than it looks."""
    found = []
    for r in rounds:
        name = f"{r.model} /{r.route}, {r.clients} clients, {r.server}"
        if r.failures:
            found.append(f"{name}: {r.failures} failures in a round")
        if r.answers < 4 * r.clients:
            found.append(f"{name}: under four answers for each client; use more --seconds")
    return _unique(found)


def _medians(rounds: list[Round]) -> list[float]:
    return [statistics.median(measure(r) for r in rounds) for measure, _ in MEASURES]


def _ratio(ours: float, theirs: float) -> str:
    return f"{ours / theirs:.2f}" if theirs else "–"


def _unique(items: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(items))
