"""A model of the pipeline, event by event: throughput and latency of machines one does not have.

    python -m loadtests.simulate --record var/load/record.json --check
    python -m loadtests.simulate --record var/load/record.json --nodes 10 --cores 8 --detectors 2 --rate 900
    python -m loadtests.simulate --record var/load/record.json --nodes 4 --gpus 1 --gpu-ms 1=3 8=9 16=16
    python -m loadtests.simulate --record var/load/record.json --table docs/capacity.md

Each node has cores, shared evenly by whatever is at work on them; an event loop for each ingress replica,
one thing at a time; threads for decoding and masking; sessions for detecting. What each takes of a processor
for one request comes from a record of `python -m loadtests`: its runs at constant rates of the plain
scenario. Requests go to the node with the fewest in flight. A GPU is a stage that takes so long for a batch
of so many: those times are an input, never guessed.

What is not in the model: networks, PostgreSQL and S3 (shared by all nodes), caches that grow cold with more
processes, and that kernels and interpreters stop a process for some milliseconds now and then: at even
intervals, where hardly anything waits, its high percentiles are too low. It is checked against what people
send, requests at random intervals: the very ones of the measurement. It is silent about storage.
"""

import argparse
import heapq
import itertools
import math
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np

from loadtests.record import Record, Run
from serve_app.advise.outcome import percentile

TOLERANCE = 0.15
SUSTAINED = 0.98
BUSY = (0.4, 0.9)
"""Shares of what clients reached between which a request's demands are taken."""
WARM_UP = 0.2
"""Share of the simulated time that is not counted."""
POOL_MOST = 4
"""Threads of one Decoder or Masker, where the machine has as many cores."""
PER_REQUEST = ("Ingress", "Decoder", "Detector", "Masker", "Limiter")
OBJECTIVE_MS = 150.0
Work = Callable[[float, Callable[[], None]], None]
"""Takes so many processor seconds, then calls."""
TABLE_NODES = (1, 2, 5, 10, 20, 50, 100)


@dataclass(frozen=True, slots=True)
class Demand:
    """What one request takes of a processor, in seconds, by stage; and what the machine takes for itself."""

    ingress: float
    decode: float
    detect: float
    mask: float
    generator: float  # of a load generator on the same machine, for each request
    background: float  # share of one core, whatever the load
    spread: tuple[float, ...] = (1.0,)  # percentiles of one request over the mean

    @classmethod
    def of(cls, runs: Sequence[Run], quiet: Run) -> "Demand":
        """From runs together; in `quiet` hardly any request waits for another."""
        answers, seconds = sum(run.answers for run in runs), sum(run.seconds for run in runs)
        used: Counter[str] = Counter()
        for run in runs:
            used.update({part: usage.cpu_s for part, usage in run.usage.items()})
        took = {part: cpu_s / answers for part, cpu_s in used.items()}
        idle = sum(cpu_s for part, cpu_s in used.items() if part not in PER_REQUEST)
        mean = sum(quiet.quantiles_ms) / len(quiet.quantiles_ms)  # demands are means: spread must not add
        return cls(
            ingress=took.get("Ingress", 0.0) + took.get("Limiter", 0.0),
            decode=took.get("Decoder", 0.0),
            detect=took.get("Detector", 0.0),
            mask=took.get("Masker", 0.0) if quiet.scenario.startswith("mask") else 0.0,
            generator=sum(run.generator_cpu_s for run in runs) / answers,
            background=idle / seconds,
            spread=tuple(value / mean for value in quiet.quantiles_ms),
        )

    @property
    def total(self) -> float:
        """Seconds of one processor, the generator's left out."""
        return self.ingress + self.decode + self.detect + self.mask


@dataclass(frozen=True, slots=True)
class Node:
    """One machine and what runs on it."""

    cores: int
    ingresses: int = 1
    decoders: int = 1
    detectors: int = 1
    maskers: int = 1
    gpus: int = 0
    gpu_s: tuple[tuple[int, float], ...] = ()  # batch size and seconds, rising
    has_generator: bool = False


@dataclass
class Simulated:
    """What came of it."""

    seconds: float
    latencies_ms: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies_ms) / self.seconds

    def p(self, percent: float) -> float:
        """A percentile in milliseconds."""
        return percentile(self.latencies_ms, percent)


class Clock:
    """Events in the order of their time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._ids = itertools.count()

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Do it then."""
        heapq.heappush(self._events, (when, next(self._ids), what))

    def run(self, until: float) -> None:
        """Do everything that is due."""
        while self._events and self._events[0][0] <= until:
            self.now, _, what = heapq.heappop(self._events)
            what()


class Cores:
    """Processors shared evenly: with more tasks than cores, each is as much slower.

    `self._work` is the work that a task which was always there would have had; a task ends when it has grown
    by the task's own demand.
    """

    def __init__(self, clock: Clock, cores: float) -> None:
        self._clock = clock
        self._cores = cores
        self._work = self._looked = 0.0
        self._tasks: list[tuple[float, int, Callable[[], None]]] = []
        self._ids = itertools.count()
        self._version = 0

    def do(self, demand: float, done: Callable[[], None]) -> None:
        """Work so many processor seconds, then call."""
        self._advance()
        heapq.heappush(self._tasks, (self._work + demand, next(self._ids), done))
        self._plan()

    def _advance(self) -> None:
        if self._tasks:
            self._work += (self._clock.now - self._looked) * self._speed
        self._looked = self._clock.now

    @property
    def _speed(self) -> float:
        return min(1.0, self._cores / len(self._tasks))

    def _plan(self) -> None:
        self._version += 1
        if self._tasks:
            version = self._version
            left = max(0.0, self._tasks[0][0] - self._work)
            self._clock.at(self._clock.now + left / self._speed, lambda: self._end(version))

    def _end(self, version: int) -> None:
        if version != self._version:
            return  # others came or went meanwhile
        self._advance()
        work, _, done = heapq.heappop(self._tasks)
        self._work = max(self._work, work)
        self._plan()
        done()


class Threads:
    """A stage: so many at work on the cores, the others wait in a row."""

    def __init__(self, cores: Cores, threads: int) -> None:
        self._cores = cores
        self._free = threads
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()

    def do(self, demand: float, done: Callable[[], None]) -> None:
        """Work when there is a thread, then call."""
        self._waiting.append((demand, done))
        self._begin()

    def _begin(self) -> None:
        while self._free and self._waiting:
            self._free -= 1
            demand, done = self._waiting.popleft()
            self._cores.do(demand, lambda done=done: self._end(done))  # type: ignore[misc] # bound now

    def _end(self, done: Callable[[], None]) -> None:
        self._free += 1
        self._begin()
        done()


class Gpus:
    """A stage that takes what waits in batches, beside the cores."""

    def __init__(self, clock: Clock, gpus: int, gpu_s: tuple[tuple[int, float], ...]) -> None:
        self._clock = clock
        self._free = gpus
        self._sizes = [size for size, _ in gpu_s]
        self._seconds = [seconds for _, seconds in gpu_s]
        self._waiting: deque[Callable[[], None]] = deque()

    def do(self, _: float, done: Callable[[], None]) -> None:
        """Join the next batch, then call."""
        self._waiting.append(done)
        self._begin()

    def _begin(self) -> None:
        while self._free and self._waiting:
            self._free -= 1
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._sizes[-1]))]
            took = float(np.interp(len(batch), self._sizes, self._seconds))
            self._clock.at(self._clock.now + took, lambda batch=batch: self._end(batch))  # type: ignore[misc] # bound now

    def _end(self, batch: list[Callable[[], None]]) -> None:
        self._free += 1
        self._begin()
        for done in batch:
            done()


class Machine:
    """One node at work."""

    def __init__(self, clock: Clock, node: Node, demand: Demand, random: np.random.Generator) -> None:
        self._demand = demand
        self._random = random
        self.in_flight = 0
        self._cores = cores = Cores(clock, max(0.1, node.cores - demand.background))
        pool = min(POOL_MOST, node.cores)
        self._ingress = Threads(cores, node.ingresses)
        self._decode = Threads(cores, pool * node.decoders)
        self._mask = Threads(cores, pool * node.maskers)
        self._detect = (
            Gpus(clock, node.gpus, node.gpu_s) if node.gpus else Threads(cores, node.cores * node.detectors)
        )
        self._generator = demand.generator if node.has_generator else 0.0

    def serve(self, done: Callable[[], None]) -> None:
        """One request through every stage, then call."""
        demand = self._demand
        self.in_flight += 1
        longer = float(np.interp(self._random.random(), np.linspace(0, 1, len(demand.spread)), demand.spread))
        way: list[tuple[Work, float]] = [
            (self._cores.do, self._generator),
            (self._ingress.do, demand.ingress / 2),
            (self._decode.do, demand.decode * longer),
            (self._detect.do, demand.detect * longer),
            *([(self._mask.do, demand.mask * longer)] if demand.mask else []),
            (self._ingress.do, demand.ingress / 2),
        ]

        def go(step: int) -> None:
            if step == len(way):
                self.in_flight -= 1
                done()
                return
            work, amount = way[step]
            work(amount, lambda: go(step + 1))

        go(0)


def simulate(
    node: Node,
    demand: Demand,
    *,
    nodes: int = 1,
    rate: float = 0.0,
    clients: int = 0,
    seconds: float = 20.0,
    warm_up: float = WARM_UP,
    is_even: bool = False,
    seed: int = 0,
) -> Simulated:
    """Requests at a rate, or from clients that each wait for their answer.

    Args:
        node: What each machine has.
        demand: What a request takes.
        nodes: How many machines.
        rate: Requests a second, of all together.
        clients: In place of a rate.
        seconds: Simulated.
        warm_up: Share of the time that is not counted.
        is_even: At even intervals; else at the random ones of `advise.load.at_rate` with the same seed.
        seed: Of the random numbers.
    """
    clock, random, arrivals = Clock(), np.random.default_rng(seed), Random(seed)
    machines = [Machine(clock, node, demand, random) for _ in range(nodes)]
    result = Simulated(seconds * (1 - warm_up))
    turn = itertools.count()

    def send(then: Callable[[], None]) -> None:
        began, first = clock.now, next(turn) % nodes
        # Ties go round, as a load balancer's do.
        machine = min(machines[first:] + machines[:first], key=lambda m: m.in_flight)

        def done() -> None:
            if clock.now > seconds * warm_up:
                result.latencies_ms.append((clock.now - began) * 1e3)
            then()

        machine.serve(done)

    def client() -> None:
        send(client)

    def gap() -> float:
        return 1 / rate if is_even else arrivals.expovariate(rate)

    def arrive() -> None:
        clock.at(clock.now + gap(), arrive)
        send(lambda: None)

    if clients:
        for _ in range(clients):
            clock.at(0.0, client)
    else:
        clock.at(0.0 if is_even else gap(), arrive)
    clock.run(seconds)
    return result


def capacity(
    node: Node, demand: Demand, nodes: int, objective_ms: float, seconds: float = 6.0
) -> tuple[float, float]:
    """The highest rate of all nodes with a 99th percentile within the objective, and that percentile."""
    low, best_p99 = 0.0, math.inf
    cpu = demand.ingress + demand.decode + demand.mask + (0.0 if node.gpus else demand.detect)
    # What the cores can do: a short simulation of more than that would not show it.
    most = (node.cores - demand.background) / cpu
    if node.gpus:
        most = min(most, node.gpus * max(size / seconds_of for size, seconds_of in node.gpu_s))
    high = SUSTAINED * nodes * most
    while high - low > 0.02 * high:
        middle = (low + high) / 2
        run = simulate(node, demand, nodes=nodes, rate=middle, seconds=seconds)
        if run.p(99) <= objective_ms:
            low, best_p99 = middle, run.p(99)
        else:
            high = middle
    return low, best_p99


def demand_of(record: Record, scenario: str) -> Demand:
    """What the record's plain scenario takes while it is busy; SystemExit when it says too little.

    Of its runs at random intervals together, or of the busy ones at constant rates: alone, a request takes
    more, as it gets every core; among many it takes less.
    """
    closed, points = record.closed(scenario), _points(record, scenario)
    if closed is None or not points or not points[0].usage:
        raise SystemExit(
            f"the record has no curve of {scenario!r} with processor times: run python -m loadtests"
        )
    least, most = (share * closed.rate for share in BUSY)
    busy = [run for run in record.at_random if run.scenario == scenario and run.answers]
    busy = busy or [point for point in points if least <= point.load <= most]
    return Demand.of(busy or points[-1:], points[0])


def _points(record: Record, scenario: str) -> list[Run]:
    """Its runs at constant rates, rising."""
    points = [point for point in record.curves if point.scenario == scenario and point.answers]
    return sorted(points, key=lambda point: point.load)


def check(record: Record, node: Node) -> tuple[list[str], bool]:
    """A table that sets predictions beside measurements, and whether rates and p99 are within bounds.

    Medians are shown as well; they come out too low, since waking a process takes time of its own.
    """
    lines = ["| load | figure | measured | predicted | difference |", "|---|---|---|---|---|"]
    notes: list[str] = []
    is_close = True
    for scenario in ("detect", "mask"):
        if record.closed(scenario) is None:
            continue
        demand = demand_of(record, scenario)
        pairs: list[tuple[str, str, float, float]] = []
        closed = record.closed(scenario)
        if closed is not None:
            # Of the closed loop itself: what is predicted is how its parts make a rate and a latency.
            predicted = simulate(
                node, Demand.of([closed], _points(record, scenario)[0]), clients=int(closed.load)
            )
            load = f"/{scenario}, {closed.load:.0f} clients"
            pairs.append((load, "answers/s", closed.rate, predicted.rate))
            per_core = closed.rate / closed.cores, predicted.rate / node.cores
            pairs.append((load, "answers/s for each core it had", *per_core))
            pairs.append((load, "p50 ms", closed.latency_ms["50"], predicted.p(50)))
            notes.append(f"{load}: {closed.cores:.2f} of {node.cores} cores were the service's.")
        for run in record.at_random:
            if run.scenario == scenario:
                predicted = simulate(node, demand, rate=run.load, seconds=run.answers / run.load, warm_up=0)
                load = f"/{scenario}, {run.load:.0f} a second at random"
                pairs += [
                    (load, f"p{percent} ms", run.latency_ms[percent], predicted.p(float(percent)))
                    for percent in ("50", "99")
                    if percent in run.latency_ms
                ]
        for load, figure, measured, said in pairs:
            off = said / measured - 1
            is_close &= figure == "p50 ms" or abs(off) <= TOLERANCE
            lines.append(f"| {load} | {figure} | {measured:.1f} | {said:.1f} | {off:+.0%} |")
    return [
        *lines,
        "",
        "Whatever of the cores was not the service's, other programs had. " + " ".join(notes),
    ], is_close


def table(record: Record, objective_ms: float, cores: int) -> list[str]:
    """Markdown: what N nodes carry."""
    shapes = (
        (f"{cores} cores", Node(cores)),
        ("8 cores, 2 Detectors", Node(8, detectors=2, decoders=2, maskers=2, ingresses=2)),
    )
    lines = [
        "| nodes | " + " | ".join(f"/{r}, {name}" for name, _ in shapes for r in ("detect", "mask")) + " |"
    ]
    lines.append("|---" * (1 + 2 * len(shapes)) + "|")
    for nodes in TABLE_NODES:
        cells = []
        for _, node in shapes:
            for route in ("detect", "mask"):
                seconds = max(2.0, 12.0 / nodes**0.5)
                rate, p99 = capacity(node, demand_of(record, route), nodes, objective_ms, seconds)
                cells.append(f"{rate:,.0f}/s, p99 {p99:.0f} ms")
                print(
                    f"{nodes} nodes of {node.cores} cores, /{route}: {cells[-1]}", file=sys.stderr, flush=True
                )
        lines.append(f"| {nodes} | {' | '.join(cells)} |")
    return lines


def document(record: Record, objective_ms: float, cores: int, command: str) -> str:
    """The whole of docs/capacity.md."""
    demands = {route: demand_of(record, route) for route in ("detect", "mask")}
    rows = [
        f"| /{route} | {d.ingress * 1e3:.2f} | {d.decode * 1e3:.2f} | {d.detect * 1e3:.2f} | "
        f"{d.mask * 1e3:.2f} | {d.total * 1e3:.2f} |"
        for route, d in demands.items()
    ]
    checked, is_close = check(record, Node(cores, has_generator=True))
    verdict = "rates and p99 within 15 %" if is_close else "**not** every rate and p99 within 15 %"
    facts = " · ".join(
        record.facts[name] for name in ("date", "machine", "commit", "model") if name in record.facts
    )
    return f"""# How much do N machines carry?

Written by `{command}`; do not edit.
Measured: {facts}.

These are predictions of a model (`loadtests/simulate.py` says what is in it and what is not), fed with what
one request took of a processor on the machine above, in milliseconds:

| | Ingress | Decoder | Detector | Masker | sum |
|---|---|---|---|---|---|
{NEW_LINE.join(rows)}

## The model beside the measurement: {verdict}

{NEW_LINE.join(checked)}

## Capacity, 99th percentile within {objective_ms:g} ms

Requests a second of all nodes together, arriving at random, each sent to the node with the fewest in flight;
2 MP JPEG, one face, nothing stored. The load generator is elsewhere. Nodes of {cores} cores are the machine
above; those of 8 are assumed to have cores as fast: nothing was measured on one. No
rate over 98 % of the cores is tried. Plan with half of it: networks, storage and neighbours are not in it.

{NEW_LINE.join(table(record, objective_ms, cores))}

No figure for GPUs is here: no such node was set beside the model. With the milliseconds that
`loadtests.batching` finds for batches on yours (an H200 with 10g in fp16: 1=1.2 8=3.8 16=6.8 32=12.1):

    python -m loadtests.simulate --record RECORD --nodes 4 --cores 16 --gpus 1 --gpu-ms 1=1.2 8=3.8 16=6.8
"""


NEW_LINE = "\n"


def parse_gpu(pairs: list[str]) -> tuple[tuple[int, float], ...]:
    """`8=9.5` for batches of 8 in 9.5 ms; SystemExit for anything else."""
    try:
        found = sorted((int(size), float(ms) / 1e3) for size, ms in (pair.split("=") for pair in pairs))
    except ValueError:
        raise SystemExit("--gpu-ms wants batch sizes with their milliseconds, such as 1=3 8=9.5") from None
    return tuple(found)


def main() -> int:
    """Predict, check or write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", type=Path, default=Path("var/load/record.json"))
    parser.add_argument("--check", action="store_true", help="against the record; exit code 1 beyond 15 %%")
    parser.add_argument("--table", type=Path, help="write the capacity table to this file")
    parser.add_argument("--objective-ms", type=float, default=OBJECTIVE_MS, help="of the 99th percentile")
    parser.add_argument("--scenario", choices=["detect", "mask"], default="detect")
    parser.add_argument(
        "--rate", type=float, help="requests a second; default: the most within the objective"
    )
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--cores", type=int, default=2)
    for stage in ("ingresses", "decoders", "detectors", "maskers"):
        parser.add_argument(f"--{stage}", type=int, default=1)
    parser.add_argument("--gpus", type=int, default=0, help="of each node; needs --gpu-ms")
    parser.add_argument("--gpu-ms", nargs="+", default=[], metavar="SIZE=MS", help="measured on your GPU")
    given = parser.parse_args()
    record = Record.read(given.record)
    if given.check:
        lines, is_close = check(record, Node(given.cores, has_generator=True))
        print("\n".join(lines))
        return 0 if is_close else 1
    if given.table:
        command = f"python -m loadtests.simulate --record RECORD --table docs/{given.table.name}"
        given.table.write_text(document(record, given.objective_ms, given.cores, command))
        return 0
    if bool(given.gpus) != bool(given.gpu_ms):
        raise SystemExit("--gpus and --gpu-ms belong together: the times of a GPU are measured, not guessed")
    node = Node(
        given.cores, given.ingresses, given.decoders, given.detectors, given.maskers, given.gpus,
        parse_gpu(given.gpu_ms),
    )  # fmt: skip
    demand, began = demand_of(record, given.scenario), time.perf_counter()
    rate = given.rate or capacity(node, demand, given.nodes, given.objective_ms)[0]
    run = simulate(node, demand, nodes=given.nodes, rate=rate)
    print(
        f"{rate:,.1f} due a second: {run.rate:,.1f} answers/s, p50 {run.p(50):.1f}, p99 {run.p(99):.1f} ms "
        f"(simulated in {time.perf_counter() - began:.1f} s)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
