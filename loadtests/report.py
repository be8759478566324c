"""The report: one HTML file that asks no other host for anything, with the figures inside it."""

import base64
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Final

from loadtests.budgets import Verdict
from loadtests.plots import draw_all
from loadtests.record import Record, Run

TEMPLATE: Final = Path(__file__).with_name("report.html")
DISTURBED: Final = 0.15
"""Cores that other programs may have without a word."""
CAPTIONS: Final = {
    "curve": (
        "Throughput and latency",
        "Open loop: requests are due at even intervals, whether or not earlier ones are answered; latency "
        "counts from when each was due. Where the lines turn upwards the service is full.",
    ),
    "throughput": (
        "As fast as clients can",
        "Closed loop: each client sends its next request when it has its answer.",
    ),
    "latencies": (
        "Latency at a constant rate",
        "At 0.6 of what the closed loop reached; the rate stands beside the name. A percentile is shown "
        "where at least one answer lies beyond it.",
    ),
    "stages": (
        "The share of each stage",
        "Mean of every answer at the same constant rate, as the service reports it.",
    ),
    "queues": (
        "Queue times",
        "Waiting for a free thread of a stage. The stage whose line rises first is the one to scale.",
    ),
    "batches": (
        "Batch sizes",
        "Pictures that shared one run of the detector; on CPUs the default config allows one.",
    ),
    "processors": (
        "Processor time by deployment",
        "User and kernel time of all processes, in the closed loop, over its good answers. What the load "
        "generator takes of the same cores is not in it.",
    ),
    "memory": (
        "Memory by deployment",
        "At the end of each closed loop; a page shared by n processes counts 1/n in each.",
    ),
}


def write_report(folder: Path, record: Record, older: Record | None, verdicts: Sequence[Verdict]) -> Path:
    """Draw the figures, write `report.html` beside them, and say where it is."""
    figures = draw_all(folder, record, older)
    path = folder / "report.html"
    page = Template(TEMPLATE.read_text()).substitute(
        title=escape(f"Load test of Face API, {record.facts['date']}"),
        tiles=_tiles(record, older),
        verdicts=_verdicts(verdicts),
        warnings=_warnings(record),
        facts=_facts(record, older),
        figures="".join(_figure(name, figures[name]) for name in CAPTIONS if name in figures),
        table=_table(record, older),
        at_random=_at_random(record),
        comparison=_comparison(record, older) if older else "",
    )
    path.write_text(page)
    return path


def _tiles(record: Record, older: Record | None) -> str:
    tiles = []
    for name in ("detect", "mask"):
        closed, opened = record.closed(name), record.opened(name)
        if closed is not None:
            before = older.closed(name) if older else None
            change = _change(closed.rate, before.rate if before else None, is_more_better=True)
            tiles.append(_tile(f"/{name}", f"{closed.rate:.0f}", "/s", change))
        if opened is not None and "99" in opened.latency_ms:
            before = older.opened(name) if older else None
            old = before.latency_ms.get("99") if before else None
            change = _change(opened.latency_ms["99"], old, is_more_better=False)
            tiles.append(
                _tile(f"/{name}, p99 at {opened.load:.0f}/s", f"{opened.latency_ms['99']:.0f}", "ms", change)
            )
    every = [*record.runs, *record.curves, *record.at_random]
    answers, errors = sum(run.answers for run in every), sum(run.errors for run in every)
    sheds = sum(run.sheds for run in every)
    tiles.append(_tile("good answers", f"{answers:,}", "", ""))
    tiles.append(_tile("errors", f"{errors:,}", "", "", is_bad=errors > 0))
    tiles.append(_tile("sheds (429, 503)", f"{sheds:,}", "", ""))
    return "".join(tiles)


def _tile(name: str, value: str, unit: str, change: str, *, is_bad: bool = False) -> str:
    bad = " bad" if is_bad else ""
    return (
        f'<div class="tile{bad}"><div class="name">{escape(name)}</div>'
        f'<div class="value">{value} <span>{unit}</span></div>{change}</div>'
    )


def _change(now: float, before: float | None, *, is_more_better: bool) -> str:
    """How much more or less than in the other record."""
    if not before:
        return ""
    share = now / before - 1
    word = _word(share, 0.03, is_more_better=is_more_better)
    return f'<div class="change {word}">{_percent(share)} to the other record</div>'


def _word(share: float, least: float, *, is_more_better: bool) -> str:
    """The CSS class of a change; none for one that may be chance."""
    if abs(share) < least:
        return ""
    return "good" if (share > 0) == is_more_better else "bad"


def _verdicts(verdicts: Sequence[Verdict]) -> str:
    if not verdicts:
        return '<p class="verdict">No budgets were given.</p>'
    broken = [verdict for verdict in verdicts if not verdict.is_kept]
    if not broken:
        return f'<p class="verdict good">All {len(verdicts)} budgets are kept.</p>'
    lines = "".join(f"<li>{escape(str(verdict))}</li>" for verdict in broken)
    return (
        f'<div class="verdict bad">{len(broken)} of {len(verdicts)} budgets are broken:<ul>{lines}</ul></div>'
    )


def _warnings(record: Record) -> str:
    """What makes figures worth less than they look."""
    disturbed = [(run, run.others_cpu_s / run.seconds) for run in record.runs if run.others_cpu_s]
    disturbed = [(run, cores) for run, cores in disturbed if cores > DISTURBED]
    if not disturbed:
        return ""
    run, most = max(disturbed, key=lambda pair: pair[1])
    return (
        f'<p class="verdict bad">Other programs were busy on this machine during {len(disturbed)} '
        f"of {len(record.runs)} runs, with up to {most:.1f} cores ({escape(run.scenario)}): "
        "figures are too low. Measure again when it is quiet.</p>"
    )


def _facts(record: Record, older: Record | None) -> str:
    names = list(dict.fromkeys([*record.facts, *(older.facts if older else [])]))
    rows = []
    for name in names:
        cells = [record.facts.get(name, "–")] + ([older.facts.get(name, "–")] if older else [])
        rows.append(
            f"<tr><th>{escape(name)}</th>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
        )
    head = "<tr><th></th><td><b>this record</b></td><td><b>the other record</b></td></tr>" if older else ""
    return head + "".join(rows)


def _figure(name: str, path: Path) -> str:
    title, caption = CAPTIONS[name]
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<section><h2 id="{name}">{title}</h2><p>{caption}</p>'
        f'<img alt="{title}" src="data:image/png;base64,{data}"></section>'
    )


HEADS: Final = (
    "scenario", "answers/s", "p50", "p99", "CPU ms", "MiB", "rate asked for", "p50", "p90", "p99", "p99.9",
    "sheds", "errors", "generator late",
)  # fmt: skip


def _table(record: Record, _: Record | None) -> str:
    rows = []
    for name in record.scenarios:
        closed, opened = record.closed(name), record.opened(name)
        cells = [escape(name)]
        cells += (
            [f"{closed.rate:.1f}", _ms(closed, "50"), _ms(closed, "99"), *_used(closed)]
            if closed
            else ["–"] * 5
        )
        cells += (
            [f"{opened.load:.1f}/s", *(_ms(opened, p) for p in ("50", "90", "99", "99.9"))]
            if opened
            else ["–"] * 5
        )
        both = [run for run in (closed, opened) if run is not None]
        errors = sum(run.errors for run in both)
        cells += [f"{sum(run.sheds for run in both)}", f'<b class="bad">{errors}</b>' if errors else "0"]
        cells.append(f"{opened.late_ms:.1f}" if opened and opened.late_ms is not None else "–")
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    head = "".join(f"<th>{name}</th>" for name in HEADS)
    groups = '<tr class="groups"><th></th><th colspan="5">closed loop</th><th colspan="5">open loop</th>'
    groups += '<th colspan="2">both</th><th></th></tr>'
    return f"{groups}<tr>{head}</tr>{''.join(rows)}"


def _at_random(record: Record) -> str:
    """The plain scenarios with requests at random intervals."""
    if not record.at_random:
        return ""
    rows = "".join(
        f"<tr><td>{escape(run.scenario)}</td><td>{run.load:.1f}/s</td>"
        + "".join(f"<td>{_ms(run, percent)}</td>" for percent in ("50", "90", "99", "99.9"))
        + "</tr>"
        for run in record.at_random
    )
    head = "".join(f"<th>{name}</th>" for name in ("scenario", "rate", "p50", "p90", "p99", "p99.9"))
    return (
        '<section><h2 id="at-random">Requests at random intervals</h2><p>As many users send them who know '
        "nothing of each other: some come together and wait for each other, however fast the service is. "
        "What is planned for people should be planned with these.</p>"
        f'<table class="figures"><tr>{head}</tr>{rows}</table></section>'
    )


def _comparison(record: Record, older: Record) -> str:
    """Both records' main figures beside each other, and the change."""
    figures: tuple[tuple[str, str, Callable[[Run], float | None], bool], ...] = (
        ("answers/s", "closed", lambda run: run.rate, True),
        ("CPU ms", "closed", lambda run: run.cpu_ms or None, False),
        ("p50 ms", "open", lambda run: run.latency_ms.get("50"), False),
        ("p99 ms", "open", lambda run: run.latency_ms.get("99"), False),
    )
    rows = []
    for name in record.scenarios:
        cells = [f"<td>{escape(name)}</td>"]
        for _, loop, of, is_more_better in figures:
            now, then = (r.closed(name) if loop == "closed" else r.opened(name) for r in (record, older))
            a, b = (of(run) if run is not None else None for run in (now, then))
            cells += [f"<td>{a:.1f}</td>" if a is not None else "<td>–</td>"]
            cells += [f"<td>{b:.1f}</td>" if b is not None else "<td>–</td>"]
            share = a / b - 1 if a and b else None
            word = "" if share is None else _word(share, 0.05, is_more_better=is_more_better)
            cells.append(f'<td class="{word}">{_percent(share)}</td>' if share is not None else "<td>–</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    groups = "".join(f'<th colspan="3">{name}</th>' for name, *_ in figures)
    head = "<th>this</th><th>other</th><th>change</th>" * len(figures)
    return (
        '<section><h2 id="comparison">Beside the other record</h2><p>Changes under 5 % have no colour: one '
        "run of a few seconds says no more. Latencies are at 0.6 of each record's own throughput.</p>"
        f'<table class="figures"><tr class="groups"><th></th>{groups}</tr><tr><th>scenario</th>{head}</tr>'
        f"{''.join(rows)}</table></section>"
    )


def _ms(run: Run, percent: str) -> str:
    return f"{run.latency_ms[percent]:.1f}" if percent in run.latency_ms else "–"


def _used(run: Run) -> tuple[str, str]:
    return (f"{run.cpu_ms:.1f}", f"{run.memory_mib:.0f}") if run.usage else ("–", "–")


def _percent(share: float) -> str:
    """Signed, without a minus before nothing."""
    return f"{round(share * 100) or 0:+d}%"
