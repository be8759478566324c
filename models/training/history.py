"""The course of a training: a CSV file that grows, and its picture."""

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from models.evaluation import LEVELS

COLUMNS: Final = ("step", "loss", "score_loss", "box_loss", *LEVELS)


@dataclass(frozen=True, slots=True)
class Row:
    """Means of the losses since the row before, and AP where it was measured."""

    step: int
    losses: tuple[float, float, float]  # all, scores, boxes
    ap: dict[str, float] = field(default_factory=dict)


class History:
    """Rows of one training, kept in a file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.rows: list[Row] = []

    def load(self, last_step: int) -> None:
        """Read the rows up to a step and forget later ones: a training that goes on writes them again."""
        if self.file.exists():
            with self.file.open(newline="", encoding="utf-8") as file:
                self.rows = [row for line in csv.DictReader(file) if (row := _row(line)).step <= last_step]
        self._write(self.rows, "w")

    def add(self, row: Row) -> None:
        """Append a row."""
        self.rows.append(row)
        self._write([row], "a" if self.file.exists() else "w")

    def plot(self, target: Path, title: str) -> None:
        """Draw losses and AP over the steps as a PNG."""
        import matplotlib  # noqa: PLC0415 - of the extra `train`

        matplotlib.use("Agg")
        from matplotlib import pyplot  # noqa: PLC0415 - after the choice of its backend

        figure, left = pyplot.subplots(figsize=(8, 4.5), dpi=100, layout="constrained")
        steps = [row.step for row in self.rows]
        for index, (name, colour) in enumerate((("loss", "0.25"), ("scores", "0.55"), ("boxes", "0.75"))):
            left.plot(
                steps, [row.losses[index] for row in self.rows], color=colour, label=name, linewidth=1.2
            )
        left.set(xlabel="step", ylabel="loss", ylim=(0, None), title=title)
        measured = [row for row in self.rows if row.ap]
        if measured:
            right = left.twinx()
            for level, colour in zip(LEVELS, ("tab:green", "tab:orange", "tab:red"), strict=True):
                values = [row.ap[level] for row in measured]
                right.plot(
                    [row.step for row in measured],
                    values,
                    "o-",
                    color=colour,
                    label=f"AP {level}",
                    markersize=3,
                )
            right.set(ylabel="average precision", ylim=(0, 1))
        left.grid(alpha=0.2)
        figure.legend(loc="outside lower center", ncols=6, frameon=False)
        figure.savefig(target, metadata={"Software": None})
        pyplot.close(figure)

    def _write(self, rows: list[Row], mode: str) -> None:
        with self.file.open(mode, newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if mode == "w":
                writer.writerow(COLUMNS)
            for row in rows:
                ap = [f"{row.ap[level]:.4f}" if row.ap else "" for level in LEVELS]
                writer.writerow([row.step, *(f"{loss:.5f}" for loss in row.losses), *ap])


def _row(line: dict[str, str]) -> Row:
    ap = {level: float(line[level]) for level in LEVELS if line[level]}
    return Row(
        int(line["step"]), (float(line["loss"]), float(line["score_loss"]), float(line["box_loss"])), ap
    )
