"""CPU time of one rate limit decision in the ingress, in this process and without Ray.

python -m loadtests.ratelimit_cost
"""

import argparse
import asyncio
import itertools
import statistics
import time
from collections.abc import Iterator

from serve_app.ratelimit.client import RateLimiter
from serve_app.ratelimit.lease import Ask, Grants, Order
from serve_app.ratelimit.ledger import Ledger
from serve_app.ratelimit.limit import RateLimit

LIMITS = {"hit": RateLimit(10_000_000, 60.0), "refused": RateLimit(1, 3600.0), "miss": RateLimit(10, 3600.0)}


class NearbyLedger:
    """The ledger in this process; what Ray adds to a call is not measured here."""

    def __init__(self) -> None:
        self.ledger = Ledger(LIMITS)

    async def take(self, order: Order) -> Grants:
        """As Ledger.take."""
        return self.ledger.take(order)


async def limiter_us(limiter: RateLimiter, route: str, subjects: Iterator[str], takes: int) -> float:
    """CPU µs of one `take`, the loop around it included."""
    started = time.process_time()
    for subject in itertools.islice(subjects, takes):
        await limiter.take(route, subject)
    return (time.process_time() - started) / takes * 1e6


def ledger_us(ledger: Ledger, subjects: Iterator[str], takes: int, asks: int) -> float:
    """CPU µs of one ask in the ledger, with so many in a call."""
    orders = [
        Order("r", tuple(Ask("miss", subject, 1, 0) for subject in itertools.islice(subjects, asks)), ())
        for _ in range(takes // asks)
    ]
    started = time.process_time()
    for order in orders:
        ledger.take(order)
    return (time.process_time() - started) / takes * 1e6


async def measure(rounds: int, takes: int) -> dict[str, list[float]]:
    """All cases by turns, so that a busy machine slows them alike."""
    port = NearbyLedger()
    limiter = RateLimiter(LIMITS, port)
    new = map(str, itertools.count())
    results: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, us in (
            ("lease hit", await limiter_us(limiter, "hit", itertools.repeat("a"), takes)),
            ("refusal, cached", await limiter_us(limiter, "refused", itertools.repeat("a"), takes)),
            ("miss, one ask a call, with the ledger's part", await limiter_us(limiter, "miss", new, takes)),
            ("ledger alone, one ask a call", ledger_us(port.ledger, new, takes, 1)),
            ("ledger alone, 100 asks a call", ledger_us(port.ledger, new, takes, 100)),
        ):
            results.setdefault(name, []).append(us)
    return results


def main() -> None:
    """Measure and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--takes", type=int, default=20_000, help="in one round of one case")
    options = parser.parse_args()
    print("| decision | CPU µs |\n|---|---|")
    for name, values in asyncio.run(measure(options.rounds, options.takes)).items():
        print(f"| {name} | {statistics.median(values):.1f} |")


if __name__ == "__main__":
    main()
