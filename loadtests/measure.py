"""Drives a running service through scenarios: wrk in closed loops, aiohttp at constant and random rates."""

import asyncio
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random

import httpx

from loadtests.pictures import Picture
from loadtests.record import Run
from loadtests.scenarios import ADMIN_PATHS, Scenario
from loadtests.upload import Upload
from loadtests.usage import Meter
from loadtests.wrk import Driven, Wrk, wrk_for
from serve_app.advise.load import Request, at_rate, run, with_clients
from serve_app.advise.outcome import Outcome

OPEN_SHARE = 0.6
"""Of what the closed loop reached: busy, with room for what comes in bunches."""
CURVE = (0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
AT_RANDOM = (0.5, 0.6, 0.7)
"""Of the same: where queues, not the noise of the machine, decide how long an answer takes."""
SEED = 0
CHECK_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Target:
    """The service under test."""

    url: str
    api_key: str = ""
    admin: tuple[str, str] | None = None  # name and password
    pid: int | None = None  # of `face-api serve`, where it is on this machine

    def request(self, scenario: Scenario, upload: Upload) -> Request:
        """One request of a scenario."""
        headers = {"Content-Type": upload.content_type, "X-API-Key": self.api_key}
        return Request(self.url + scenario.path, upload.body, headers)

    def admin_requests(self) -> list[Request]:
        """What somebody who looks at the console asks for."""
        if self.admin is None:
            raise SystemExit("admin traffic needs FACE_API_ADMIN_USER and FACE_API_ADMIN_PASSWORD")
        headers = {"Authorization": httpx.BasicAuth(*self.admin)._auth_header}
        return [Request(f"{self.url}/api/v1/{path}", headers=headers, method="GET") for path in ADMIN_PATHS]


@dataclass(frozen=True, slots=True)
class Effort:
    """How long and how hard."""

    clients: int = 8  # of closed loops
    closed_s: int = 3
    open_s: float = 5.0
    long_s: float = (
        12.0  # of the plain scenarios at a constant rate: their high percentiles need many answers
    )
    curve_s: float = 5.0
    random_s: float = 10.0
    warm_up_s: int = 1


class Measurement:
    """The runs of one service, as they come."""

    def __init__(self, target: Target, effort: Effort, say: Callable[[str], None] | None = None) -> None:
        self._has_wrk = shutil.which("wrk") is not None
        self._target = target
        self._effort = effort
        self._say = say or (lambda text: print(text, file=sys.stderr, flush=True))
        self.runs: list[Run] = []
        self.curves: list[Run] = []
        self.at_random: list[Run] = []

    def scenario(self, scenario: Scenario, pictures: Sequence[Picture], *, with_curve: bool) -> None:
        """Warm up, then as fast as clients can, then at a constant rate; then the curve, and at random."""
        effort = self._effort
        uploads = scenario.uploads(pictures)
        requests = [self._target.request(scenario, upload) for upload in uploads]
        self._check(requests[0], scenario)
        if self._has_wrk:
            with wrk_for(*uploads) as wrk:
                self._drive(wrk, scenario, effort.warm_up_s)
                closed = self._closed(
                    scenario, lambda: asyncio.to_thread(self._drive, wrk, scenario, effort.closed_s)
                )
        else:
            run(with_clients(requests, effort.clients, effort.warm_up_s))
            closed = self._closed(
                scenario,
                lambda: with_clients(
                    requests, effort.clients, effort.closed_s, keep_alive=scenario.keep_alive
                ),
            )
        self.runs.append(closed)
        self._say(f"{scenario.name}: {closed.rate:.1f}/s with {effort.clients} clients")
        if not closed.answers:
            return
        seconds = effort.long_s if scenario.group == "plain" else effort.open_s
        opened = self._open(scenario, requests, closed.rate * OPEN_SHARE, seconds)
        self.runs.append(opened)
        p50 = opened.latency_ms.get("50", float("nan"))
        self._say(f"{scenario.name}: median {p50:.1f} ms at {opened.load:.1f}/s")
        if with_curve:
            for share in CURVE:
                point = self._open(scenario, requests, closed.rate * share, effort.curve_s)
                self.curves.append(point)
                p99 = point.latency_ms.get("99")
                tail = "too few answers for a p99" if p99 is None else f"p99 {p99:.1f} ms"
                self._say(f"{scenario.name}: {point.load:.1f}/s asked for, {point.rate:.1f}/s, {tail}")
            for share in AT_RANDOM:
                rate = closed.rate * share
                point = self._open(scenario, requests, rate, effort.random_s, Random(SEED))
                self.at_random.append(point)
                p50 = point.latency_ms.get("50", float("nan"))
                self._say(f"{scenario.name}: {rate:.1f}/s at random, median {p50:.1f} ms")

    def _check(self, request: Request, scenario: Scenario) -> None:
        """Once, so that what is measured is what was meant."""
        answer = httpx.post(
            request.url, content=request.body, headers=dict(request.headers), timeout=CHECK_TIMEOUT_S
        )
        if answer.status_code != 200:
            raise SystemExit(
                f"{scenario.name}: the service answers {answer.status_code}: {answer.text[:200]}"
            )
        is_kept = (
            answer.json()["image_id"] if scenario.route == "detect" else answer.headers.get("X-Image-Id")
        )
        if scenario.is_stored and is_kept is None:
            raise SystemExit(f"{scenario.name}: the service stored nothing; is its storage on?")

    def _drive(self, wrk: Wrk, scenario: Scenario, seconds: int) -> Driven:
        return wrk.drive(
            self._target.url + scenario.path,
            self._effort.clients,
            seconds,
            keep_alive=scenario.keep_alive,
            api_key=self._target.api_key,
        )

    def _closed(self, scenario: Scenario, drive: Callable[[], Awaitable[Driven | Outcome]]) -> Run:
        effort, target = self._effort, self._target

        async def both() -> Driven | Outcome:
            if not scenario.admin_rate:
                return await drive()
            admin = at_rate(target.admin_requests(), scenario.admin_rate, effort.closed_s)
            driven, _ = await asyncio.gather(drive(), admin)
            return driven

        meter = Meter(target.pid)
        driven = run(both())
        cost = meter.read()
        if isinstance(driven, Driven):
            return Run.of_wrk(scenario.name, effort.clients, driven, cost)
        return Run.of_outcome(scenario.name, "closed", effort.clients, driven, cost)

    def _open(
        self,
        scenario: Scenario,
        requests: Sequence[Request],
        rate: float,
        seconds: float,
        random: Random | None = None,
    ) -> Run:
        target = self._target
        _settle(target.url)

        async def both() -> tuple[Outcome, Outcome | None]:
            main = at_rate(requests, rate, seconds, keep_alive=scenario.keep_alive, random=random)
            if not scenario.admin_rate:
                return await main, None
            admin = at_rate(target.admin_requests(), scenario.admin_rate, seconds)
            outcome, beside = await asyncio.gather(main, admin)
            return outcome, beside

        meter = Meter(target.pid)
        outcome, admin = run(both())
        return Run.of_outcome(scenario.name, "open", rate, outcome, meter.read(), admin)


def _settle(url: str) -> None:
    """Until what the last run left has been worked off: the service answers at once."""
    deadline = time.monotonic() + CHECK_TIMEOUT_S
    while time.monotonic() < deadline:
        started = time.perf_counter()
        httpx.get(f"{url}/livez", timeout=CHECK_TIMEOUT_S)
        if time.perf_counter() - started < 0.05:
            break
    time.sleep(0.3)
