"""Three times what the service can do, for minutes: it does what it can, and refuses the rest at once."""

import asyncio
import os
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import cv2
import numpy as np

from loadtests.pictures import head
from loadtests.torture.client import Answer, client, post
from loadtests.torture.memory import Watch, budget_bytes
from loadtests.torture.promise import Effort, Finding, Promise, Proof
from loadtests.torture.victim import Victim, victim
from serve_app.advise.load import run
from serve_app.advise.outcome import percentile
from serve_app.launcher import DEFAULT_CONFIG

TIMES: Final = 3.0
CLIENTS: Final = 32
CAPACITY_S: Final = 10.0
WARM_UP_S: Final = 3.0
DEADLINE_S: Final = 30.0
"""FACE_API_REQUEST_TIMEOUT_S."""
REFUSED_S: Final = 0.1
LEAST_SHARE: Final = 0.9
NORMAL_S: Final = 5.0
LOOK_S: Final = 2.0
CALM: Final = 3
"""Answers in a row that are as quick as before."""
ROUTE: Final = "/api/v1/detect"


@dataclass(frozen=True, slots=True)
class Flood:
    """What came of an overload."""

    seconds: float  # from the first request that was due to the last one
    answers: list[Answer]
    late_s: list[float]  # how long after it was due each was sent

    @property
    def good(self) -> list[Answer]:
        """Answered."""
        return [answer for answer in self.answers if answer.status == 200]

    @property
    def refused(self) -> list[Answer]:
        """Not answered, whatever happened."""
        return [answer for answer in self.answers if answer.status != 200]

    @property
    def rate(self) -> float:
        """Good answers a second while the overload lasted; those that came later are the queue's rest."""
        end_s = min(answer.sent_s for answer in self.answers) + self.seconds
        return sum(answer.ended_s <= end_s for answer in self.good) / self.seconds


def picture() -> bytes:
    """2 megapixels with one face, in few bytes: the service is to be the bottleneck, not the generator."""
    rough = np.random.default_rng(0).normal(120.0, 50.0, (9, 16, 3)).astype(np.float32)
    pixels = np.clip(cv2.resize(rough, (1920, 1080)), 0, 255).astype(np.uint8)
    pixels[200:632, 700:1132] = head(432)
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()


async def capacity(session: aiohttp.ClientSession, body: bytes, seconds: float) -> float:
    """Answers a second with clients that wait for theirs."""
    ended_s = time.monotonic() + seconds
    count = 0

    async def one_client() -> None:
        nonlocal count
        while time.monotonic() < ended_s:
            answer = await post(session, ROUTE, body, {"store": "none"})
            count += answer.status == 200

    await asyncio.gather(*(one_client() for _ in range(CLIENTS)))
    return count / seconds


async def flood(session: aiohttp.ClientSession, body: bytes, rate: float, seconds: float) -> Flood:
    """So many requests a second, whether or not they are answered."""
    answers: list[Answer] = []
    late_s: list[float] = []

    async def one(due_s: float) -> None:
        late_s.append(time.monotonic() - due_s)
        answers.append(await post(session, ROUTE, body, {"store": "none"}))

    began_s = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for number in range(round(rate * seconds)):
            due_s = began_s + number / rate
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            tasks.create_task(one(due_s))
    return Flood(seconds, answers, late_s)


async def seconds_to_normal(session: aiohttp.ClientSession, body: bytes, normal_s: float) -> float:
    """From now until answers are as quick as before again."""
    began_s = time.monotonic()
    quick = 0
    while quick < CALM and time.monotonic() - began_s < 2 * DEADLINE_S:
        answer = await post(session, ROUTE, body, {"store": "none"})
        quick = quick + 1 if answer.status == 200 and answer.seconds <= normal_s else 0
    return time.monotonic() - began_s


@dataclass(frozen=True, slots=True)
class Overload:
    """Everything that was measured."""

    most: float  # requests a second
    idle_s: float  # an answer's time when nothing else is there
    flood: Flood
    normal_s: float  # until it was over

    @classmethod
    async def measure(cls, running: Victim, seconds: float) -> "Overload":
        """Capacity, overload, recovery."""
        body = picture()
        async with client(running.url, running.headers) as session:
            await capacity(session, body, WARM_UP_S)
            alone = [await post(session, ROUTE, body, {"store": "none"}) for _ in range(20)]
            idle_s = statistics.median(answer.seconds for answer in alone)
            most = await capacity(session, body, CAPACITY_S)
            flooded = await flood(session, body, TIMES * most, seconds)
            normal_s = await seconds_to_normal(session, body, 2 * idle_s + 0.02)
        return cls(most, idle_s, flooded, normal_s)

    def findings(self) -> list[Finding]:
        """Judge it."""
        flooded = self.flood
        share = flooded.rate / self.most
        p99_s = percentile([answer.seconds for answer in flooded.good], 99)
        told = [answer for answer in flooded.refused if answer.status == 503 and answer.is_honest_failure]
        statuses = Counter(answer.label for answer in flooded.answers)
        refused_ms = [answer.seconds * 1e3 for answer in told] or [float("inf")]
        late_ms = percentile(flooded.late_s, 99) * 1e3
        return [
            Finding(
                f"at {TIMES:g} times its capacity it still does {LEAST_SHARE:.0%} of it",
                f"{flooded.rate:.1f} of {self.most:.1f} a second ({share:.0%}); {dict(statuses)}",
                share >= LEAST_SHARE,
            ),
            Finding(
                f"99 % of the answers come within the deadline, {DEADLINE_S:g} s",
                f"p99 {p99_s:.2f} s",
                p99_s <= DEADLINE_S,
            ),
            Finding(
                "everything else is refused as 503 with Retry-After and JSON",
                f"{len(told)} of {len(flooded.refused)}",
                len(told) == len(flooded.refused) > 0,
            ),
            Finding(
                f"refusals come within {REFUSED_S * 1e3:.0f} ms (99 %)",
                f"p50 {percentile(refused_ms, 50):.0f} ms, p99 {percentile(refused_ms, 99):.0f} ms, the "
                f"slowest {max(refused_ms):.0f} ms; the generator was {late_ms:.0f} ms late at p99",
                percentile(refused_ms, 99) <= REFUSED_S * 1e3,
            ),
            Finding(
                f"all is normal again within {NORMAL_S:g} s",
                f"after {self.normal_s:.1f} s",
                self.normal_s <= NORMAL_S,
            ),
        ]


@contextmanager
def processor_apart(folder: Path, config: Path | None) -> Iterator[Victim]:
    """A service on all processors but one, which is this process's: it must not take the service's."""
    all_of_them = os.sched_getaffinity(0)
    ours = {max(all_of_them)}
    os.sched_setaffinity(0, all_of_them - ours or ours)  # what the service inherits
    try:
        with victim(folder, config) as running:
            os.sched_setaffinity(0, ours)
            yield running
    finally:
        os.sched_setaffinity(0, all_of_them)


def prove(folder: Path, effort: Effort) -> Proof:
    """The overload, and the memory meanwhile."""
    budget = budget_bytes(effort.config or DEFAULT_CONFIG)
    with processor_apart(folder, effort.config) as running:
        with Watch(running, LOOK_S).looking() as watch:
            overload = run(Overload.measure(running, effort.overload_s))
        threads = {part: len(running.part(part)) for part in ("Ingress", "Decoder", "Detector", "Masker")}
    memory = Finding(
        f"memory stays within the config's {budget / 2**30:.2f} GiB, and no process ends",
        f"at most {watch.peak_bytes / 2**30:.2f} GiB",
        watch.peak_bytes <= budget and all(threads.values()),
    )
    notes = [
        f"{effort.overload_s:.0f} s, the generator on a processor of its own",
        f"an answer alone takes {overload.idle_s * 1e3:.0f} ms",
    ]
    return Proof([*overload.findings(), memory, running.leaves_nothing()], notes)


OVERLOAD: Final = Promise("overload", "Overload is refused early, and what is accepted is done", prove)
