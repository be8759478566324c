"""`kill -9` of each process in turn under load: what was in flight there fails, and it comes back."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from loadtests.torture.client import Answer, client, post
from loadtests.torture.coded import BITS, make_coded, wrong_with_mask
from loadtests.torture.promise import Effort, Finding, Promise, Proof
from loadtests.torture.victim import GCS, PARTS, RAYLET, Victim, victim, wait_until
from serve_app.advise.trial import TrialError

CLIENTS: Final = 8
BACK_S: Final = 15.0
"""Within so long the service answers again, and the process is replaced."""
RAY_ITSELF: Final = (GCS, RAYLET)
"""What Ray cannot go on without: everything starts again, and until then nothing is answered."""
RAY_BACK_S: Final = 60.0
WAITED_S: Final = 90.0
CALM_S: Final = 3.0
"""Load before a kill, and after the service was back."""
LAUNCHER_GONE_S: Final = 30.0
UNTOUCHED: Final = frozenset({"Limiter", "MaintenanceWorker", "Serve controller", "PostgreSQL", "S3 server"})
"""No picture is in them, so no request may fail with them."""


@dataclass
class Load:
    """Clients that mask pictures one after the other, half of them on a new connection each time."""

    running: Victim
    answers: list[Answer] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def driving(self) -> Iterator[None]:
        """For as long as the block lasts."""
        thread = threading.Thread(target=lambda: asyncio.run(self._drive()))
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def since(self, moment_s: float) -> list[Answer]:
        """Those that ended after a moment."""
        return [answer for answer in self.answers if answer.ended_s > moment_s]

    async def _drive(self) -> None:
        async with asyncio.TaskGroup() as clients:
            for number in range(CLIENTS):
                clients.create_task(self._client(number))

    async def _client(self, number: int) -> None:
        """Each picture once: one that was in a decoder that ended is refused for a while."""
        running = self.running
        async with client(running.url, running.headers, keep_alive=number % 2 == 0) as session:
            while not self._ended.is_set():
                number += CLIENTS
                coded = await asyncio.to_thread(make_coded, number % 2**BITS)
                query = {**coded.query, "method": "solid"}
                answer = await post(session, "/api/v1/mask", coded.data, query)
                self.answers.append(answer)
                if answer.status != 200:
                    await asyncio.sleep(0.2)
                elif wrong := await asyncio.to_thread(wrong_with_mask, coded, answer.body):
                    self.wrong.append(wrong)


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What a kill did."""

    part: str
    failed: Counter[str]  # by status or exception
    answering_s: float | None  # until a request sent after the last failure was answered; None: never
    replaced_s: float | None  # until a new process was there and the service ready; None: never
    slowest_s: float  # answer sent after the kill

    def finding(self) -> Finding:
        """Judge it."""
        failed = dict(self.failed) or "no request"
        measured = (
            f"{failed} failed; answering after {_seconds(self.answering_s)}, replaced and ready after "
            f"{_seconds(self.replaced_s)}; slowest answer meanwhile {self.slowest_s:.1f} s"
        )
        if self.part in RAY_ITSELF:
            text = f"kill -9 of {self.part}: the service starts again by itself within {RAY_BACK_S:.0f} s"
            return Finding(text, measured, self._is_back_within(RAY_BACK_S))
        allowed = 0 if self.part in UNTOUCHED else CLIENTS
        text = (
            f"kill -9 of {self.part}: at most {allowed} requests fail, and it is back within {BACK_S:.0f} s"
        )
        holds = self.failed.total() <= allowed and self._is_back_within(BACK_S)
        return Finding(text, measured, holds)

    def _is_back_within(self, most_s: float) -> bool:
        return all(value is not None and value <= most_s for value in (self.answering_s, self.replaced_s))


def kill_one(load: Load, part: str) -> Aftermath:
    """Kill the oldest process of a part under load, and watch."""
    running = load.running
    before = running.part(part)
    if not before:
        raise SystemExit(f"the service has no {part}")
    killed_s = time.monotonic()
    before[0].kill()

    def is_replaced() -> bool:
        now = running.part(part)
        return len(now) >= min(len(before), 1) and before[0] not in now and running.is_ready()

    def is_answering() -> bool:
        return any(answer.status == 200 and answer.sent_s > killed_s for answer in load.since(killed_s))

    replaced_s = wait_until(is_replaced, WAITED_S)
    wait_until(is_answering, WAITED_S)
    time.sleep(CALM_S)
    return judge(part, load.since(killed_s), killed_s, replaced_s)


def judge(part: str, after: list[Answer], killed_s: float, replaced_s: float | None) -> Aftermath:
    """What the answers after a kill say."""
    failures = [answer for answer in after if answer.status != 200]
    last_failure_s = max((answer.ended_s for answer in failures), default=killed_s)
    good = [answer.ended_s for answer in after if answer.status == 200 and answer.sent_s >= last_failure_s]
    answering_s = min(good) - killed_s if good else None
    return Aftermath(
        part,
        Counter(answer.label for answer in failures),
        answering_s,
        replaced_s,
        max((answer.seconds for answer in after if answer.status == 200), default=0.0),
    )


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"


def prove(folder: Path, effort: Effort) -> Proof:
    """Every part in turn, then those without which Ray cannot go on, each of which ends a service."""
    found: list[Finding] = []
    services = [PARTS, *((part,) for part in RAY_ITSELF)]
    for number, parts in enumerate(services):
        try:
            found += _one_service(folder / str(number), effort, parts)
        except TrialError as error:
            found.append(Finding(f"{', '.join(parts)} can be killed", str(error), holds=False))
    found += _launcher(folder / "launcher", effort)
    return Proof(found)


def _one_service(folder: Path, effort: Effort, parts: Sequence[str]) -> list[Finding]:
    """Kill parts of one service in turn."""
    with victim(folder, effort.config) as running:
        load = Load(running)
        with load.driving():
            time.sleep(CALM_S)
            found = [_said(kill_one(load, part).finding()) for part in parts]
        found.append(_nothing_wrong(load))
    return [*found, running.leaves_nothing()]


def _said(finding: Finding) -> Finding:
    """Tell the terminal at once: the whole takes minutes."""
    print(f"  {finding.promised}: {finding.measured}", flush=True)
    return finding


def _nothing_wrong(load: Load) -> Finding:
    good = sum(answer.status == 200 for answer in load.answers)
    dishonest = [a for a in load.answers if a.status != 200 and not a.is_honest_failure]
    return Finding(
        "meanwhile every answer is masked, or says that it failed",
        f"{good} masked pictures checked, {len(load.wrong)} wrong {load.wrong[:3] or ''}; "
        f"{len(dishonest)} failures do not say so"
        + "".join(f"; {answer.status} {answer.body[:100]!r}" for answer in dishonest[:3]),
        good > 0 and not load.wrong and not dishonest,
    )


def _launcher(folder: Path, effort: Effort) -> list[Finding]:
    """The launcher itself: nobody below it is left, and what starts it again finds no hindrance."""
    with victim(folder, effort.config) as running:
        children = running.processes()[1:]
        psutil.Process(running.trial.pid).kill()
        began_s = time.monotonic()
        _, alive = psutil.wait_procs(children, LAUNCHER_GONE_S)
        took_s = time.monotonic() - began_s
    ended = Finding(
        f"kill -9 of the launcher ends every other process within {LAUNCHER_GONE_S:.0f} s",
        f"{len(children) - len(alive)} of {len(children)} processes ended within {took_s:.1f} s",
        not alive,
    )
    # On the port of its metrics, by which it knows what is its own; folders of others are left for a minute.
    with victim(folder, effort.config, FACE_API_METRICS_PORT=str(running.metrics_port)) as again:
        is_ready = again.is_ready()
    left = [str(path) for path in sorted(running.files) if path.exists()]
    started = Finding(
        "what starts it again needs no repair, and what the killed one left in /dev/shm is gone",
        f"{'ready' if is_ready else 'not ready'}; left: {', '.join(left) or 'nothing'}",
        is_ready and not left,
    )
    return [ended, started, again.leaves_nothing()]


CRASH_ONLY: Final = Promise("crash-only", "Crash-only: any process may be killed at any time", prove)
