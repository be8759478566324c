"""What an ingress replica and the ledger say to each other. All of it crosses processes.

Times are durations, because the clocks of two machines differ.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ask:
    """One subject's wish. Made by RateLimiter; read by Ledger."""

    route: str
    subject: str
    wanted: int  # requests that wait for a token
    expected: int  # tokens it is likely to use within one lease; 0 when unknown


@dataclass(frozen=True, slots=True)
class Unused:
    """Tokens of a lease that ended."""

    route: str
    subject: str
    slice_s: float  # of the Grant they came with
    tokens: int


@dataclass(frozen=True, slots=True)
class Order:
    """Everything one replica has to say at a time."""

    replica: str
    asks: tuple[Ask, ...]
    unused: tuple[Unused, ...]


@dataclass(frozen=True, slots=True)
class Grant:
    """The answer to one Ask: a lease, or a refusal when `tokens` is less than wanted."""

    tokens: int  # counted as used unless they come back
    lease_s: float  # how long they may be used, from receipt
    slice_s: float  # the ledger's name for where they were counted; not a time to others
    remaining: int  # tokens left for everybody
    reset_s: float
    retry_after_s: float  # 0 while tokens are left


@dataclass(frozen=True, slots=True)
class Grants:
    """The answer to an Order."""

    grants: tuple[Grant, ...]  # in the order of the asks
    replicas: int  # that asked recently, the asking one included
