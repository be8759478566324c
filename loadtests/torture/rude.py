"""Slow and rude clients: how others fare meanwhile, and what becomes of theirs.

python -m loadtests.torture --only rude-clients
"""

import asyncio
import multiprocessing
import os
import resource
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import uvloop

from loadtests.torture.overload import picture
from loadtests.torture.promise import Effort, Finding, Promise, Proof
from loadtests.torture.rude_clients import BOUND_S, Crowd, Rudeness, Target, kinds_of
from loadtests.torture.victim import Victim, victim
from serve_app.advise.load import Request, at_rate, run, with_clients
from serve_app.advise.outcome import Outcome

SHARE: Final = 0.25
"""Of what the service can do: healthy clients alone leave it idle most of the time."""
TIMES: Final = 2.0
CAPACITY_S: Final = 8.0
SECONDS: Final = 20.0
SETTLE_S: Final = 3.0
SPARE_DESCRIPTORS: Final = 500


@dataclass(frozen=True, slots=True)
class Bout:
    """One kind of rudeness, and healthy requests before it and beside it."""

    kind: Rudeness
    alone: Outcome
    most_open: int
    ended: Mapping[str, int]
    healthy: Outcome


class Attackers:
    """Rude clients in a process of their own: they must not slow the healthy ones down by themselves."""

    def __init__(self, target: Target, kind_index: int, clients: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_attack, args=(target, kind_index, clients, theirs))

    def __enter__(self) -> "Attackers":
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.join(BOUND_S)
        if self._process.is_alive():
            self._process.kill()

    def stop(self) -> tuple[int, Counter[str]]:
        """The most connections that were open, and what came of those that ended."""
        self._ours.send(None)
        most_open, ended = self._ours.recv()
        return int(most_open), Counter(ended)


def _attack(target: Target, kind_index: int, clients: int, pipe: Connection) -> None:
    """The other process, until it is told to stop. Rude clients are elsewhere: here they get what is left."""
    os.nice(19)

    async def attack() -> tuple[int, Counter[str]]:
        kind = replace(kinds_of(target)[kind_index], clients=clients)
        crowd = Crowd(target, kind)
        running = asyncio.create_task(crowd.run())
        most_open = 0
        while not pipe.poll():
            await asyncio.sleep(0.1)
            most_open = max(most_open, crowd.open)
        running.cancel()
        await asyncio.wait({running})
        return most_open, crowd.ended

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        pipe.send(runner.run(attack()))


def bout(target: Target, index: int, healthy: Request, rate: float, seconds: float) -> Bout:
    """Healthy requests at a constant rate while one kind of rude clients is at work."""
    kind = kinds_of(target)[index]
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    kind = replace(kind, clients=min(kind.clients, soft - SPARE_DESCRIPTORS))
    alone = run(at_rate([healthy], rate, seconds))
    with Attackers(target, index, kind.clients) as attackers:
        time.sleep(SETTLE_S)
        outcome = run(at_rate([healthy], rate, seconds))
        most_open, ended = attackers.stop()
    return Bout(kind, alone, most_open, ended, outcome)


def findings(bouts: list[Bout]) -> list[Finding]:
    """Judge them."""
    found = []
    for it in bouts:
        usual_ms, p99_ms = it.alone.percentile(99), it.healthy.percentile(99)
        found.append(
            Finding(
                f"{it.kind.name}: the healthy clients' p99 at most doubles",
                f"{usual_ms:.0f} ms alone, {p99_ms:.0f} ms beside {it.most_open} of them; "
                f"{it.healthy.answers} answers, {it.healthy.failures} failures",
                p99_ms <= TIMES * usual_ms and not it.healthy.failures,
            )
        )
        ends = " or ".join(sorted(it.kind.expected))
        found.append(
            Finding(
                f"{it.kind.name}: each connection ends, with {ends}, within {BOUND_S:g} s",
                ", ".join(f"{count} × {name}" for name, count in sorted(it.ended.items())) or "none ended",
                bool(it.ended) and set(it.ended) <= it.kind.expected,
            )
        )
    return found


def measure(running: Victim, seconds: float) -> tuple[list[Finding], str]:
    """Every kind in turn."""
    body = picture()
    target = Target(running.url, running.headers["X-API-Key"], body)
    headers = {**running.headers, "Content-Type": "image/jpeg"}
    healthy = Request(f"{running.url}/api/v1/detect?store=none", body, headers)
    run(with_clients([healthy], 4, CAPACITY_S / 2))  # not counted
    rate = SHARE * run(with_clients([healthy], 4, CAPACITY_S)).rate
    bouts = [bout(target, index, healthy, rate, seconds) for index in range(len(kinds_of(target)))]
    return findings(
        bouts
    ), f"healthy: {rate:.1f} /detect a second, for {seconds:g} s before and beside each kind"


def prove(folder: Path, effort: Effort) -> Proof:
    """Start a service and be rude to it."""
    with victim(folder, effort.config) as running:
        found, note = measure(running, SECONDS)
    return Proof([*found, running.leaves_nothing()], [note])


RUDE: Final = Promise("rude-clients", "Slow and rude clients cost the others little", prove)
