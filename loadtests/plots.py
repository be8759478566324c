"""The figures of a report, as PNG files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from loadtests.record import QUEUES, Record, Run

WIDTH_IN: Final = 9.6
DPI: Final = 130
INK, FAINT, GRID, OLD = "#1f2733", "#6b7685", "#e3e7ec", "#a9b2bd"
PERCENTILE_COLOURS: Final = {"50": "#2a6fbb", "90": "#2f9e8f", "99": "#e08a1e", "99.9": "#c0392b"}
STAGE_COLOURS: Final = {
    "decode_queue": "#c9d6e8",
    "decode": "#2a6fbb",
    "preprocess": "#6fa3d8",
    "queue": "#f3dcb4",
    "blob": "#f0b95b",
    "inference": "#e08a1e",
    "postprocess": "#b9651b",
    "nms": "#8a4a14",
    "mask_queue": "#cfe8e2",
    "mask": "#2f9e8f",
    "encode": "#1d6b61",
    "storage": "#7d5ba6",
    "elsewhere": "#d7dbe0",
}
STAGE_NAMES: Final = {
    "decode_queue": "waiting to decode",
    "queue": "waiting to infer",
    "mask_queue": "waiting to mask",
    "elsewhere": "ingress and transport",
}
DEPLOYMENT_COLOURS: Final = {
    "Ingress": "#5b6b7f",
    "Decoder": "#2a6fbb",
    "Detector": "#e08a1e",
    "Masker": "#2f9e8f",
    "Limiter": "#c77fa8",
    "MaintenanceWorker": "#9c86c4",
    "PostgreSQL": "#7d5ba6",
    "S3 server": "#4d3a78",
    "Ray and launcher": "#b7bfc9",
}
STYLE: Final[dict[Any, Any]] = {
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": FAINT,
    "axes.edgecolor": GRID,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}

Draw = Callable[[Record, Record | None], Figure | None]


def draw_all(folder: Path, record: Record, older: Record | None) -> dict[str, Path]:
    """Name -> file of every figure that the record has something to show in."""
    figures: dict[str, Draw] = {
        "curve": curve,
        "latencies": latencies,
        "throughput": throughput,
        "stages": stages,
        "queues": queues,
        "batches": batches,
        "processors": processors,
        "memory": memory,
    }
    drawn = {}
    with mpl.rc_context(STYLE):
        for name, draw in figures.items():
            figure = draw(record, older)
            if figure is not None:
                path = folder / f"{name}.png"
                figure.savefig(path, dpi=DPI)
                drawn[name] = path
    return drawn


def curve(record: Record, older: Record | None) -> Figure | None:
    """Latency over throughput, each plain scenario in a panel."""
    names = _curve_names(record)
    if not names:
        return None
    figure, panels = _panels(len(names), 3.7)
    for name, panel in zip(names, panels, strict=True):
        points = _points(record, name)
        if older is not None and (before := _points(older, name)):
            _line(panel, before, "99", OLD, "99 %, the other record", style="--")
        for percent, colour in PERCENTILE_COLOURS.items():
            _line(panel, points, percent, colour, _percent(percent))
        closed = record.closed(name)
        if closed is not None:
            panel.axvline(closed.rate, color=FAINT, lw=0.8, ls=":")
            panel.annotate(
                f"closed loop: {closed.rate:.0f}/s",
                (closed.rate, 1),
                xycoords=("data", "axes fraction"),
                xytext=(-4, -4),
                textcoords="offset points",
                ha="right",
                va="top",
                fontsize=8,
                color=FAINT,
            )
        panel.set(title=f"/{name}", xlabel="good answers a second", ylabel="latency, ms", yscale="log")
        panel.set_xlim(left=0)
        _plain_log(panel.yaxis)
    panels[0].legend(loc="upper left", ncols=2)
    return figure


def latencies(record: Record, _: Record | None) -> Figure | None:
    """Percentiles of each scenario at its constant rate."""
    runs = [run for name in record.scenarios if (run := record.opened(name)) is not None]
    if not runs:
        return None
    figure, (panel,) = _panels(1, 0.24 * len(runs) + 1.2)
    for row, run in enumerate(runs):
        known = [run.latency_ms[p] for p in PERCENTILE_COLOURS if p in run.latency_ms]
        if not known:
            continue
        panel.plot([known[0], known[-1]], [row, row], color=OLD, lw=1.2, zorder=1)
        for percent, colour in PERCENTILE_COLOURS.items():
            if percent in run.latency_ms:
                panel.scatter(run.latency_ms[percent], row, s=26, color=colour, zorder=2)
    for percent, colour in PERCENTILE_COLOURS.items():
        panel.scatter([], [], s=26, color=colour, label=_percent(percent))
    _rows(panel, [f"{run.scenario}   {run.load:.0f}/s" for run in runs])
    panel.set(xlabel="latency in ms, from when each request was due", xscale="log")
    _plain_log(panel.xaxis)
    _legend_above(panel, 4)
    return figure


def throughput(record: Record, older: Record | None) -> Figure | None:
    """Good answers a second of each closed loop."""
    runs = [run for name in record.scenarios if (run := record.closed(name)) is not None]
    if not runs:
        return None
    figure, (panel,) = _panels(1, 0.26 * len(runs) + 0.9)
    before = [older.closed(run.scenario) if older else None for run in runs]
    height = 0.36 if older else 0.66
    panel.barh(
        [row - (0.2 if older else 0) for row in range(len(runs))],
        [run.rate for run in runs],
        height,
        color=[
            DEPLOYMENT_COLOURS["Decoder" if run.scenario.startswith("detect") else "Masker"] for run in runs
        ],
    )
    if older:
        rates = [run.rate if run else 0.0 for run in before]
        panel.barh(
            [row + 0.2 for row in range(len(runs))], rates, height, color=OLD, label="the other record"
        )
        panel.legend(loc="lower right")
    for row, run in enumerate(runs):
        panel.text(run.rate, row - (0.2 if older else 0), f" {run.rate:.1f}", va="center", fontsize=8)
    _rows(panel, [run.scenario for run in runs])
    panel.set(xlabel=f"good answers a second, {runs[0].load:.0f} clients")
    panel.grid(axis="y", visible=False)
    return figure


def stages(record: Record, _: Record | None) -> Figure | None:
    """Where the time inside the service goes, as shares."""
    runs = [r for name in record.scenarios if (r := record.opened(name)) is not None and r.stages_ms]
    if not runs:
        return None
    figure, (panel,) = _panels(1, 0.26 * len(runs) + 1.7)
    used = [stage for stage in STAGE_COLOURS if any(_stage(run, stage) > 0 for run in runs)]
    lefts = [0.0] * len(runs)
    for stage in used:
        shares = [100 * _stage(run, stage) / run.stages_ms["total"] for run in runs]
        name = STAGE_NAMES.get(stage, stage)
        panel.barh(range(len(runs)), shares, 0.72, left=lefts, color=STAGE_COLOURS[stage], label=name)
        for row, share in enumerate(shares):
            if share >= 9:
                colour = "white" if stage in DARK else INK
                panel.text(
                    lefts[row] + share / 2,
                    row,
                    f"{share:.0f}",
                    ha="center",
                    va="center",
                    fontsize=7.5,
                    color=colour,
                )
        lefts = [left + share for left, share in zip(lefts, shares, strict=True)]
    for row, run in enumerate(runs):
        panel.text(101, row, f"{run.stages_ms['total']:.1f} ms", va="center", fontsize=8)
    _rows(panel, [run.scenario for run in runs])
    panel.set(xlim=(0, 100), xlabel="% of the mean time between the last byte in and the result")
    panel.grid(visible=False)
    _legend_above(panel, 5)
    return figure


DARK: Final = {"decode", "inference", "postprocess", "nms", "mask", "encode", "storage"}


def queues(record: Record, _: Record | None) -> Figure | None:
    """How long pictures wait for a thread, over the rate."""
    names = [n for n in _curve_names(record) if any(run.queues_ms for run in _points(record, n))]
    if not names:
        return None
    figure, panels = _panels(len(names), 3.3)
    for name, panel in zip(names, panels, strict=True):
        points = _points(record, name)
        for queue in QUEUES:
            known = [run for run in points if run.queues_ms.get(queue)]
            colour = {"decode_queue": "#2a6fbb", "queue": "#e08a1e", "mask_queue": "#2f9e8f"}[queue]
            for percent, style in (("50", "-"), ("99", ":")):
                shown = [
                    (r.rate, r.queues_ms[queue][percent]) for r in known if percent in r.queues_ms[queue]
                ]
                if shown:
                    label = f"{STAGE_NAMES[queue]}, {_percent(percent)}"
                    panel.plot(*zip(*shown, strict=True), style, color=colour, marker="o", ms=3, label=label)
        panel.set(title=f"/{name}", xlabel="good answers a second", ylabel="ms")
        panel.set_xlim(left=0)
        panel.set_ylim(bottom=0)
        panel.legend(loc="upper left")
    return figure


def batches(record: Record, _: Record | None) -> Figure | None:
    """How many pictures shared a run of the detector."""
    names = [n for n in _curve_names(record) if any(run.batch_sizes for run in _points(record, n))]
    if not names:
        return None
    figure, panels = _panels(len(names), 2.7)
    for name, panel in zip(names, panels, strict=True):
        points = [run for run in _points(record, name) if run.batch_sizes]
        sizes = sorted({int(size) for run in points for size in run.batch_sizes})
        bottoms = [0.0] * len(points)
        for number, size in enumerate(sizes):
            shares = [
                100 * run.batch_sizes.get(str(size), 0) / sum(run.batch_sizes.values()) for run in points
            ]
            shade = 0.25 + 0.7 * number / max(1, len(sizes) - 1) if len(sizes) > 1 else 0.7
            colour = mpl.colormaps["Oranges"](shade)
            panel.bar(
                [f"{run.load:.0f}" for run in points],
                shares,
                0.7,
                bottom=bottoms,
                color=colour,
                label=f"{size}",
            )
            bottoms = [bottom + share for bottom, share in zip(bottoms, shares, strict=True)]
        panel.set(
            title=f"/{name}", xlabel="requests a second that were due", ylabel="% of answers", ylim=(0, 100)
        )
        panel.grid(axis="x", visible=False)
        panel.legend(title="batch of", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def processors(record: Record, _: Record | None) -> Figure | None:
    """Processor time of one answer, by deployment, in the closed loops."""
    return _by_deployment(
        record,
        lambda run, part: run.usage[part].cpu_s / run.answers * 1e3,
        "processor ms for one good answer",
        "ms",
    )


def memory(record: Record, _: Record | None) -> Figure | None:
    """Memory by deployment at the end of each closed loop."""
    return _by_deployment(
        record, lambda run, part: run.usage[part].memory_bytes / 2**20, "MiB (proportional set size)", "MiB"
    )


def _by_deployment(
    record: Record, value: Callable[[Run, str], float], label: str, unit: str
) -> Figure | None:
    runs = [r for n in record.scenarios if (r := record.closed(n)) is not None and r.usage and r.answers]
    if not runs:
        return None
    figure, (panel,) = _panels(1, 0.26 * len(runs) + 1.5)
    lefts = [0.0] * len(runs)
    for part, colour in DEPLOYMENT_COLOURS.items():
        values = [value(run, part) if part in run.usage else 0.0 for run in runs]
        if any(values):
            panel.barh(range(len(runs)), values, 0.72, left=lefts, color=colour, label=part)
        lefts = [left + more for left, more in zip(lefts, values, strict=True)]
    for row, total in enumerate(lefts):
        panel.text(
            total, row, f" {total:,.0f} {unit}" if unit == "MiB" else f" {total:.1f}", va="center", fontsize=8
        )
    _rows(panel, [run.scenario for run in runs])
    panel.set(xlabel=label)
    panel.grid(axis="y", visible=False)
    _legend_above(panel, 5)
    return figure


def _stage(run: Run, stage: str) -> float:
    """Mean milliseconds; `elsewhere` is what no stage accounts for."""
    if stage != "elsewhere":
        return run.stages_ms.get(stage, 0.0)
    return max(0.0, run.stages_ms["total"] - sum(run.stages_ms.get(s, 0.0) for s in STAGE_NAMES_OR_STAGES))


STAGE_NAMES_OR_STAGES: Final = [stage for stage in STAGE_COLOURS if stage != "elsewhere"]


def _curve_names(record: Record) -> list[str]:
    return list(dict.fromkeys(run.scenario for run in record.curves))


def _points(record: Record, name: str) -> list[Run]:
    return sorted((run for run in record.curves if run.scenario == name), key=lambda run: run.load)


def _line(
    panel: Axes, points: Sequence[Run], percent: str, colour: str, label: str, *, style: str = "-"
) -> None:
    shown = [(run.rate, run.latency_ms[percent]) for run in points if percent in run.latency_ms]
    if shown:
        panel.plot(*zip(*shown, strict=True), style, color=colour, marker="o", ms=3.5, lw=1.6, label=label)


def _panels(count: int, height_in: float) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained", facecolor="white")
    return figure, [figure.add_subplot(1, count, number + 1) for number in range(count)]


def _rows(panel: Axes, names: Sequence[str]) -> None:
    panel.set_yticks(range(len(names)), names, color=INK, fontsize=8.5)
    panel.set_ylim(len(names) - 0.4, -0.6)
    panel.tick_params(axis="y", length=0)


def _legend_above(panel: Axes, columns: int) -> None:
    panel.legend(
        loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=columns, columnspacing=1.4, handlelength=1.2
    )


def _plain_log(axis: Axis) -> None:
    """A logarithmic axis with ticks at 1, 2 and 5, written out."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def _percent(percent: str) -> str:
    return "median" if percent == "50" else f"{percent} %"
