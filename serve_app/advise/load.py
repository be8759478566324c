"""Requests at a rate, or from clients that each wait for their answer; aiohttp on uvloop.

At a rate, requests are due at even intervals, or at random ones as many users send them (a Poisson
process), whether or not earlier ones have been answered, and latency counts from when each was due: a
service that stalls is charged for everything that was due meanwhile (no coordinated omission). How late the
generator itself was is told apart, since it may share the machine with the service.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

import aiohttp
import uvloop

from serve_app.advise.outcome import Outcome
from serve_app.advise.stages import stages_of

T = TypeVar("T")
ANSWER_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request."""

    url: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"


class Sender:
    """Sends requests and keeps what came of them."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self.outcome = Outcome()

    async def send(self, request: Request, due: float) -> None:
        """Send it now; `due` by time.perf_counter()."""
        sent = time.perf_counter()
        outcome = self.outcome
        try:
            async with self._session.request(
                request.method, request.url, data=request.body or None, headers=request.headers
            ) as response:
                body = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            outcome.add_failure(type(error).__name__)
            return
        if response.status != 200:
            outcome.add_failure(response.status)
            return
        outcome.latencies_ms.append((time.perf_counter() - due) * 1e3)
        outcome.late_ms.append((sent - due) * 1e3)
        for stage, value in stages_of(response.headers, body).items():
            outcome.stages.setdefault(stage, []).append(value)


async def at_rate(
    requests: Sequence[Request],
    rate: float,
    seconds: float,
    *,
    keep_alive: bool = True,
    random: Random | None = None,
) -> Outcome:
    """Send `rate` requests a second, each in turn, for so many seconds; wait for every answer.

    Args:
        requests: What to send.
        rate: A second; with `random`, on average.
        seconds: How long requests are due.
        keep_alive: Whether connections are used again.
        random: Where random intervals come from; None for even ones.
    """
    async with _sender(keep_alive) as sender:
        count = max(1, round(rate * seconds))
        started = due = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for number in range(count):
                due = started + number / rate if random is None else due + random.expovariate(rate)
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                tasks.create_task(sender.send(requests[number % len(requests)], due))
        # Answers that came late count as this run's, in the time their requests were due: the rate is what
        # was asked for, unless the service fell behind.
        sender.outcome.seconds = max(count / rate, time.perf_counter() - started - 1 / rate)
        return sender.outcome


async def with_clients(
    requests: Sequence[Request], clients: int, seconds: float, *, keep_alive: bool = True
) -> Outcome:
    """Closed loop: so many clients, each with one request at a time."""
    async with _sender(keep_alive) as sender:
        started = time.perf_counter()

        async def client(number: int) -> None:
            while (now := time.perf_counter()) < started + seconds:
                await sender.send(requests[number % len(requests)], now)
                number += clients

        async with asyncio.TaskGroup() as tasks:
            for number in range(clients):
                tasks.create_task(client(number))
        sender.outcome.seconds = time.perf_counter() - started
        return sender.outcome


@asynccontextmanager
async def _sender(keep_alive: bool) -> AsyncIterator[Sender]:
    timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S)
    connector = aiohttp.TCPConnector(limit=0, force_close=not keep_alive)  # no queue of our own
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        yield Sender(session)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Wait for it on a fast event loop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
