"""What must hold: a percentile of the latency, and no failure."""

import re
from dataclasses import dataclass

from models.errors import FaceError
from serve_app.advise.outcome import Outcome

PATTERN = re.compile(r"p(\d{1,2}(?:\.\d+)?)=(\d+(?:\.\d+)?)(ms|s)")


class ObjectiveError(FaceError):
    """The objective cannot be read; the message says how it is written."""


@dataclass(frozen=True, slots=True)
class Objective:
    """So much of the answers come within so many milliseconds."""

    percent: float
    most_ms: float

    @classmethod
    def parse(cls, text: str) -> "Objective":
        """`p99=150ms` or `p99.9=1s`.

        Raises:
            ObjectiveError: It is something else.
        """
        found = PATTERN.fullmatch(text.strip())
        if found is None or float(found[1]) < 1:
            raise ObjectiveError(f"the objective {text!r} cannot be read; write for example p99=150ms")
        return cls(float(found[1]), float(found[2]) * (1e3 if found[3] == "s" else 1))

    @property
    def least_answers(self) -> int:
        """So many that at least two lie beyond the percentile."""
        return round(200 / (100 - self.percent))

    def holds(self, outcome: Outcome) -> bool:
        """Whether a run kept it; one that shed or failed did not."""
        return not outcome.failures and outcome.percentile(self.percent) <= self.most_ms

    def __str__(self) -> str:
        return f"p{self.percent:g} within {self.most_ms:g} ms"
