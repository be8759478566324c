"""A rate limit, and how an operator writes it."""

import re
from dataclasses import dataclass
from typing import Final

MOST_TOKENS: Final = 10_000_000
PERIODS_S: Final = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}
OFF: Final = "off"

_FORM: Final = re.compile(r"([0-9]{1,8})\s*/\s*(second|minute|hour|day)s?")


@dataclass(frozen=True, slots=True)
class RateLimit:
    """So many requests of one subject in any period."""

    count: int  # 1 to MOST_TOKENS
    period_s: float


def parse_rate_limit(text: str) -> RateLimit | None:
    """Read `300/minute`; None for `off`.

    Raises:
        ValueError: It is neither; the message says what is accepted.
    """
    written = text.strip().lower()
    if written == OFF:
        return None
    match = _FORM.fullmatch(written)
    count = int(match[1]) if match else 0
    if match is None or not 1 <= count <= MOST_TOKENS:
        raise ValueError(
            f"a rate limit is a count from 1 to {MOST_TOKENS} and a period, such as 300/minute "
            f"(or second, hour, day), or {OFF}"
        )
    return RateLimit(count, PERIODS_S[match[2]])
