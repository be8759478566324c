"""What is promised, how hard it is tried, and what came of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that must hold, and whether it did."""

    promised: str
    measured: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Proof:
    """What a promise came to."""

    findings: list[Finding]
    notes: list[str] = field(default_factory=list)  # figures that nothing is promised about

    @property
    def holds(self) -> bool:
        """Whether everything did; nothing found is nothing shown."""
        return bool(self.findings) and all(finding.holds for finding in self.findings)


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard to try."""

    requests: int = 10_000  # pairwise different pictures
    clients: int = 64
    overload_s: float = 120.0
    soak_s: float = 3600.0
    config: Path | None = None  # Ray config of the service; None: the default one
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Promise:
    """One section of RELIABILITY.md."""

    name: str
    text: str
    prove: Callable[[Path, Effort], Proof]
    """Takes an empty folder, starts a service of its own there and leaves nothing but files in it."""
