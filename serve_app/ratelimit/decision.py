"""Whether one request may pass, as its answer tells the client."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Decision:
    """Made by RateLimiter; read by whoever answers."""

    allowed: bool
    limit: int
    remaining: int
    reset_s: float  # until the oldest tokens come back
    retry_after_s: float  # 0 when allowed

    def headers(self) -> dict[str, str]:
        """The `RateLimit-*` headers, and `Retry-After` for a refusal; whole seconds, rounded up."""
        headers = {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(math.ceil(self.reset_s)),
        }
        if not self.allowed:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after_s)))
        return headers
