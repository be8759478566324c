"""The picture of a ramp: replicas, clients and answers over time, from what `loadtests.autoscaling` says.

.venv/bin/face-api serve --config configs/autoscaling.yaml
.venv/bin/python -m loadtests.autoscaling --image photo.jpg --api-key "$KEY" > ramp.jsonl
.venv/bin/python -m loadtests.ramp ramp.jsonl --out ramp.png
"""

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from loadtests.plots import DEPLOYMENT_COLOURS, DPI, FAINT, STYLE, WIDTH_IN

SMOOTH_S = 3.0
"""Answers a second are a mean over so long."""


def read_ramp(path: Path) -> list[dict[str, Any]]:
    """The line of each second; SystemExit when the file has none."""
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]
    found = [line for line in lines if "seconds" in line]
    if len(found) < 2:
        raise SystemExit(f"{path} has no ramp; make it with python -m loadtests.autoscaling ... > {path}")
    return found


def rates(lines: list[dict[str, Any]]) -> list[float]:
    """Answers a second at each line, over the last seconds."""
    found, first = [0.0], 0
    for index in range(1, len(lines)):
        while lines[index]["seconds"] - lines[first]["seconds"] > SMOOTH_S and first < index - 1:
            first += 1
        answered = lines[index]["answered"] - lines[first]["answered"]
        found.append(answered / (lines[index]["seconds"] - lines[first]["seconds"]))
    return found


def draw(lines: list[dict[str, Any]]) -> Figure:
    """Replicas above, load below, over the same time."""
    with mpl.rc_context(STYLE):
        return _draw(lines)


def _draw(lines: list[dict[str, Any]]) -> Figure:
    seconds = [line["seconds"] for line in lines]
    figure = Figure(figsize=(WIDTH_IN, 5.2), layout="constrained", facecolor="white")
    above, below = figure.subplots(2, 1, sharex=True)
    for stage in lines[0]["replicas"]:
        counts = [line["replicas"][stage] for line in lines]
        above.step(seconds, counts, where="post", color=DEPLOYMENT_COLOURS[stage], lw=2, label=stage)
    above.set(ylabel="replicas", ylim=(0, None), title="Replicas of each stage")
    above.yaxis.get_major_locator().set_params(integer=True)
    above.legend(loc="upper right", ncols=3)
    below.step(seconds, [line["clients"] for line in lines], where="post", color=FAINT, label="clients")
    below.plot(seconds, rates(lines), color="#c0392b", label="good answers a second")
    failed = sum(lines[-1]["failures"].values())
    below.set(xlabel="seconds", ylim=(0, None), title=f"Load; failed requests: {failed}")
    below.legend(loc="upper right", ncols=2)
    return figure


def main() -> None:
    """Read and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("lines", type=Path, help="what loadtests.autoscaling printed")
    parser.add_argument("--out", type=Path, default=Path("ramp.png"))
    options = parser.parse_args()
    draw(read_ramp(options.lines)).savefig(options.out, dpi=DPI)


if __name__ == "__main__":
    main()
