"""Mixed sizes at 70 % load for an hour: no process grows, in memory, descriptors or threads."""

import asyncio
import contextlib
import itertools
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
import numpy as np
import psutil

from loadtests.pictures import make_picture
from loadtests.torture.client import client, post
from loadtests.torture.promise import Effort, Finding, Promise, Proof
from loadtests.torture.trend import BLOCKS, Trend, trend_of
from loadtests.torture.victim import Victim, part_of, victim
from serve_app.advise.load import run
from serve_app.embedded.rclone import ObjectFolder

SHARE: Final = 0.7
CLIENTS: Final = 16
CAPACITY_S: Final = 30.0
SIZES: Final = ((0.3, 1), (0.3, 1), (0.3, 20), (2.0, 1), (2.0, 1), (2.0, 20), (2.0, 0), (12.0, 1))
"""Megapixels and faces, sent in turn."""
QUERIES: Final = (
    "detect?store=none",
    "mask?method=gaussian&store=none",
    "detect?store=both",
    "mask?method=pixelate&format=png&store=none",
    "mask?method=solid&format=webp&store=both",
)
KEPT: Final = 200
"""Stored pictures; older ones are deleted: in an hour they would fill thirty gigabytes of disk."""
BOUNDED: Final = {"S3 server": ObjectFolder.most_growth_bytes / 2**20}
"""MiB that a part may grow by before it is started anew: rclone keeps something of every object written."""
SAMPLE_S: Final = 2.0
WARM_UP: Final = 1 / 3
"""Share of the time before growth is looked for; allocators and caches fill up in it."""
COURSE: Final = 12
LEAST: Final = {"memory": 2.0, "descriptors": 1.0, "threads": 1.0}
"""Growth that is nothing, over the time after the warm-up: MiB, and one of each."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at one process."""

    time_s: float
    memory: float  # resident, MiB; shared memory apart
    descriptors: float
    threads: float


@dataclass
class Soak:
    """A service under steady load, looked at from time to time."""

    running: Victim
    samples: dict[tuple[str, int], list[Sample]] = field(default_factory=dict)  # of (part, pid)
    lockers: list[tuple[float, float]] = field(default_factory=list)  # seconds, MiB
    statuses: Counter[str] = field(default_factory=Counter)
    stored: deque[str] = field(default_factory=deque)
    deletions: Counter[str] = field(default_factory=Counter)
    rate: float = 0.0

    async def drive(self, seconds: float) -> None:
        """Find the capacity, then ask for a share of it."""
        bodies = [make_picture(size, faces, seed=number).data for number, (size, faces) in enumerate(SIZES)]
        async with client(self.running.url, self.running.headers) as session:
            most = await _capacity(session, bodies)
            self.rate = SHARE * most
            looking = asyncio.create_task(self._look())
            await self._at_rate(session, bodies, seconds)
            looking.cancel()

    async def _at_rate(self, session: aiohttp.ClientSession, bodies: Sequence[bytes], seconds: float) -> None:
        began_s = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for number in range(round(self.rate * seconds)):
                await asyncio.sleep(max(0.0, began_s + number / self.rate - time.monotonic()))
                tasks.create_task(self._one(session, bodies, number))

    async def _one(self, session: aiohttp.ClientSession, bodies: Sequence[bytes], number: int) -> None:
        answer = await post(session, _path(number), bodies[number % len(bodies)])
        self.statuses[answer.label] += 1
        if answer.image_id is not None:
            self.stored.append(answer.image_id)
        if len(self.stored) > KEPT:
            await self._delete(session, self.stored.popleft())

    async def _delete(self, session: aiohttp.ClientSession, image_id: str) -> None:
        path = f"/api/v1/admin/images/{image_id}"
        try:
            async with session.delete(path, headers=self.running.admin_headers) as answer:
                self.deletions[str(answer.status)] += 1
        except (aiohttp.ClientError, TimeoutError) as error:
            self.deletions[type(error).__name__] += 1

    async def _look(self) -> None:
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(SAMPLE_S)

    def look(self) -> None:
        """Sample every process."""
        now_s = time.monotonic()
        for process in self.running.processes():
            with contextlib.suppress(psutil.Error, OSError):
                part = part_of(" ".join(process.cmdline()), process.name())
                with process.oneshot():
                    sample = Sample(
                        now_s,
                        _own_mebibytes(process.pid),
                        process.num_fds(),
                        process.num_threads(),
                    )
                self.samples.setdefault((part, process.pid), []).append(sample)
        self.lockers.append((now_s, self.running.locker_bytes() / 2**20))

    def trends(self) -> dict[tuple[str, int, str], Trend]:
        """Of every process that was there all the time, after the warm-up."""
        begin_s = self._warm_s()
        least = sum(time_s >= begin_s for time_s, _ in self.lockers) - 1
        found = {}
        for (part, pid), samples in self.samples.items():
            late = [sample for sample in samples if sample.time_s >= begin_s]
            if len(late) < max(least, BLOCKS):
                continue  # such as a connection of PostgreSQL, which come and go
            at = np.array([sample.time_s for sample in late])
            for what in LEAST:
                values = np.array([getattr(sample, what) for sample in late], np.float64)
                found[part, pid, what] = trend_of(at, values)
        return found

    def grew(self, part: str) -> float:
        """MiB between the least and the most that a process of this part held after the warm-up."""
        begin_s = self._warm_s()
        held = [
            [sample.memory for sample in samples if sample.time_s >= begin_s]
            for (of_part, _), samples in self.samples.items()
            if of_part == part
        ]
        return max((max(one) - min(one) for one in held if one), default=0.0)

    def course(self, part: str, pid: int, what: str) -> str:
        """Medians of what a process held in each twelfth of the time."""
        values = [getattr(sample, what) for sample in self.samples[part, pid]]
        medians = [np.median(twelfth) for twelfth in np.array_split(values, COURSE) if len(twelfth)]
        return ", ".join(f"{value:.0f}" for value in medians)

    def _warm_s(self) -> float:
        times = [time_s for time_s, _ in self.lockers]
        return times[0] + WARM_UP * (times[-1] - times[0])

    def locker_trend(self) -> Trend:
        """Of the memory between the stages."""
        begin_s = self._warm_s()
        late = np.array([pair for pair in self.lockers if pair[0] >= begin_s])
        return trend_of(late[:, 0], late[:, 1])


def _own_mebibytes(pid: int) -> float:
    """What a process holds in memory, without what it shares.

    PostgreSQL's buffers are of a fixed size, and each of its processes counts those that it has touched.
    Pictures between stages are looked at by themselves.
    """
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssFile:"))) / 1024


async def _capacity(session: aiohttp.ClientSession, bodies: Sequence[bytes]) -> float:
    """Answers a second of the same mix, with clients that wait for theirs.

    They take their pictures from one row: with a row for each, more would be asked of what is quick.
    """
    began_s = time.monotonic()
    numbers = itertools.count()

    async def one_client() -> None:
        while time.monotonic() < began_s + CAPACITY_S:
            number = next(numbers)
            await post(session, _path(number), bodies[number % len(bodies)])

    await asyncio.gather(*(one_client() for _ in range(CLIENTS)))
    return next(numbers) / (time.monotonic() - began_s)


def _path(number: int) -> str:
    return f"/api/v1/{QUERIES[number // len(SIZES) % len(QUERIES)]}"


def findings(soak: Soak) -> list[Finding]:
    """Judge it."""
    trends = soak.trends()
    tests = len(trends) + 1
    found = []
    for what, least in LEAST.items():
        of_kind = {
            (part, pid): trend
            for (part, pid, kind), trend in trends.items()
            if kind == what and not (kind == "memory" and part in BOUNDED)
        }
        growing = {key: trend for key, trend in of_kind.items() if trend.grows(least, tests)}
        total = sum(trend.slope for trend in of_kind.values())
        unit = " MiB" if what == "memory" else ""
        text = "; ".join(
            f"{part} {pid}: +{trend.slope:.1f}{unit} an hour [{trend.low:.1f}, {trend.high:.1f}], "
            f"p = {trend.p:.1g}"
            for (part, pid), trend in growing.items()
        )
        found.append(
            Finding(
                f"{what} of no process grow" + ("s" if what == "memory" else ""),
                text
                or f"{len(of_kind)} processes, together {total:+.1f}{unit} an hour, none of it significant",
                bool(of_kind) and not growing,
            )
        )
    for part, most in BOUNDED.items():
        grew = soak.grew(part)
        found.append(
            Finding(f"the {part} grows by {most:.0f} MiB at most", f"by {grew:.0f} MiB", grew <= 1.1 * most)
        )
    lockers = soak.locker_trend()
    found.append(
        Finding(
            "the memory between the stages does not grow",
            f"{lockers.slope:+.1f} MiB an hour, p = {lockers.p:.1g}, median {lockers.level:.0f} MiB",
            not lockers.grows(LEAST["memory"], tests),
        )
    )
    share = soak.statuses["200"] / max(1, soak.statuses.total())
    found.append(Finding("at this load every request is answered", f"{dict(soak.statuses)}", share == 1.0))
    found.append(
        Finding(
            f"of what is stored, all but the last {KEPT} pictures are deleted",
            f"{dict(soak.deletions)}",
            set(soak.deletions) <= {"204"},
        )
    )
    return found


def notes(soak: Soak) -> list[str]:
    """Each process's memory, and its threads where they were not always as many, for the reader."""
    lines = [f"{soak.rate:.1f} requests a second, {SHARE:.0%} of what {CLIENTS} clients get"]
    for (part, pid, what), trend in sorted(soak.trends().items()):
        if what == "memory" or (what == "threads" and trend.p < 1):
            unit = "MiB" if what == "memory" else what
            lines.append(
                f"{part} {pid}: {trend.level:.0f} {unit}, {trend.slope:+.2f} an hour "
                f"[{trend.low:.2f}, {trend.high:.2f}], p = {trend.p:.2g}; "
                f"by twelfths {soak.course(part, pid, what)}"
            )
    return lines


def prove(folder: Path, effort: Effort) -> Proof:
    """The whole time."""
    with victim(folder, effort.config) as running:
        soak = Soak(running)
        run(soak.drive(effort.soak_s))
    return Proof([*findings(soak), running.leaves_nothing()], notes(soak))


SOAK: Final = Promise("soak", "Memory stays flat over a long run", prove)
