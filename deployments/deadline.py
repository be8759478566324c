"""The point in time after which nobody waits for a result any more."""

import time
from dataclasses import dataclass

from deployments.errors import DeadlineExceededError


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point on this process's monotonic clock; between processes the seconds left travel instead."""

    at_s: float

    @classmethod
    def after(cls, timeout_s: float) -> "Deadline":
        """The deadline `timeout_s` seconds from now."""
        return cls(time.monotonic() + timeout_s)

    @property
    def left_s(self) -> float:
        """Seconds left; negative once it has passed."""
        return self.at_s - time.monotonic()

    def check(self) -> None:
        """Raise DeadlineExceededError once it has passed."""
        if self.left_s <= 0:
            raise DeadlineExceededError("the request's deadline passed before its result was ready")
