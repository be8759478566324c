"""Our service beside others under the same load, and beside its own limit; prints a Markdown table.

    python -m loadtests.compare --models scrfd_500m --concurrency 1 8 32 --seconds 8 --json raw.json

For each model every server is started once and kept; one at a time is driven, in alternating rounds, by
wrk (C, one thread) with the same multipart request over connections that stay open. A round begins when the
server has nothing left to do, and lasts --seconds, or longer where that would be less than six answers for
each client. Ours takes some processor while idle (the command prints how much), the others
take none: ours is frozen (SIGSTOP) while they and the bare loop have their turn. CPU time and memory are
those of all processes of a server (`processes.py` says how they are found); what wrk takes of the same cores
is in neither. Requests/s, latencies, CPU and memory are medians over rounds; failures are their sum. The bare
loop (`bare.py`) is our own stages without HTTP and Ray. Ours runs without keys, limits, database and storage,
which the others do not have; any other FACE_API_* variable of the environment holds.
"""

import argparse
import dataclasses
import json
import math
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from loadtests.compare import servers
from loadtests.compare.processes import PeakMemory, ProcessTree
from loadtests.compare.report import OURS, BareRound, Round, table, warnings
from loadtests.compare.servers import PROJECT, THEIRS, Launch, Server
from loadtests.machine import machine
from loadtests.upload import Upload, multipart, read_picture
from loadtests.wrk import Wrk, wrk_for

TURNS = 6
"""Answers for each client in a round, at least: wrk does not count what is under way when it ends."""
BARE_TIMEOUT_S = 180.0

Start = Callable[[str, str, Launch], AbstractContextManager[Server]]
"""As `servers.running`."""


def drive(server: Server, wrk: Wrk, model: str, route: str, clients: int, seconds: int) -> Round:
    """One round of one server."""
    server.tree.settle()
    with PeakMemory(server.tree) as memory:
        before = server.tree.cpu_s()
        driven = wrk.drive(server.url(route), clients, seconds)
        cpu_s = server.tree.cpu_s() - before
    return Round(
        model=model,
        route=route,
        clients=clients,
        server=server.name,
        answers=driven.answers,
        failures=driven.failures,
        seconds=driven.seconds,
        p50_ms=driven.p50_ms,
        p99_ms=driven.p99_ms,
        cpu_s=cpu_s,
        peak_bytes=memory.bytes,
    )


def bare_loop(model: str, routes: list[str], options: argparse.Namespace, folder: Path) -> list[BareRound]:
    """One round of the bare loop, in processes of its own."""
    command = [sys.executable, "-m", "loadtests.compare.bare", "--json", "--model", model]
    command += ["--seconds", str(options.seconds), "--processes", str(options.cores), "--routes", *routes]
    if options.image is not None:
        command += ["--image", str(options.image.resolve())]
    log = folder / "bare.log"
    with log.open("wb") as output:
        tree = ProcessTree(command, {**os.environ, "FACE_API_DATA_DIR": str(folder)}, output, PROJECT)
    try:
        failed = tree.process.wait(BARE_TIMEOUT_S + options.seconds * len(routes))
    finally:
        tree.stop(0.0)
    said = log.read_text(errors="replace")
    if failed:
        raise SystemExit(f"the bare loop failed:\n{said[-2000:]}")
    rates: dict[str, float] = json.loads(said.strip().splitlines()[-1])
    return [BareRound(model, route, rate) for route, rate in rates.items()]


class Comparison:
    """The rounds of every model, as they come."""

    def __init__(
        self, options: argparse.Namespace, wrk: Wrk, upload: Upload, start: Start = servers.running
    ) -> None:
        self._options = options
        self._wrk = wrk
        self._upload = upload
        self._start = start
        self.rounds: list[Round] = []
        self.bare: list[BareRound] = []
        self.idle_cores: dict[str, float] = {}
        self._answer_s: dict[tuple[str, str], float] = {}

    def run(self, model: str) -> None:
        """Start all servers for this model, warm them up and measure."""
        options = self._options
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bare-")))
            launch = Launch(options.cores, options.threads, options.pool, options.config, options.ranges)
            servers.keep_ranges(options.ranges, folder)
            started: list[Server] = []
            for name in (OURS, *options.against):
                _say(f"{model}: starting {name}")
                running = self._start(name, model, launch)
                started.append(stack.enter_context(running))
            for server in started:
                self._warm_up(server, model)
            for server in started:
                idle = server.idle_cores(options.warm_up)
                self.idle_cores[f"{model} {server.name}"] = idle
                _say(f"{model}: {server.name} takes {idle:.1%} of a core while idle")
            for number in range(options.rounds):
                # The order turns round, so that no server always follows the same one.
                self._round(model, started if number % 2 == 0 else started[::-1], number)
                if not options.no_bare:
                    _say(f"{model}: round {number + 1}, bare loop")
                    with started[0].tree.frozen():
                        self.bare += bare_loop(model, options.routes, options, folder)

    def _warm_up(self, server: Server, model: str) -> None:
        for route in self._options.routes:
            seen = server.check(route, self._upload)
            _say(f"{model}: {server.name} /{route} answers with {seen}")
            alone = self._wrk.drive(server.url(route), 1, self._options.warm_up)
            self._answer_s[server.name, route] = alone.p50_ms / 1e3
            self._wrk.drive(server.url(route), max(self._options.concurrency), self._options.warm_up)
            server.tree.settle()

    def _seconds(self, server: Server, route: str, clients: int) -> int:
        """Length of a round."""
        turn_s: float = self._answer_s[server.name, route] * max(1.0, clients / self._options.cores)
        least: int = self._options.seconds
        return max(least, math.ceil(TURNS * turn_s))

    def _round(self, model: str, order: list[Server], number: int) -> None:
        for route in self._options.routes:
            for clients in self._options.concurrency:
                for server in order:
                    with ExitStack() as stack:
                        for ours in order:
                            if ours.name == OURS and server is not ours:
                                stack.enter_context(ours.tree.frozen())
                        seconds = self._seconds(server, route, clients)
                        done = drive(server, self._wrk, model, route, clients, seconds)
                    self.rounds.append(done)
                    load = f"round {number + 1}, /{route}, {clients} clients"
                    _say(f"{model}: {load}, {server.name}: {done.rate:.1f}/s")

    def to_json(self) -> dict[str, object]:
        """Everything that was measured."""
        return {
            "date": time.strftime("%Y-%m-%d"),
            "machine": machine(),
            "arguments": {name: str(value) for name, value in vars(self._options).items()},
            "idle_cores": self.idle_cores,
            "rounds": [dataclasses.asdict(r) for r in self.rounds],
            "bare": [dataclasses.asdict(r) for r in self.bare],
        }


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--models", nargs="+", default=["scrfd_500m", "scrfd_2.5g"], help="published models or .onnx files"
    )
    parser.add_argument("--routes", nargs="+", choices=["detect", "mask"], default=["detect", "mask"])
    parser.add_argument("--concurrency", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--seconds", type=int, default=8, help="length of one round, at least")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--warm-up", type=int, default=2, help="seconds for each server and route")
    parser.add_argument("--image", type=Path, help="default: bench/p1080.jpg of FACE_API_SHARED_DIR's data")
    parser.add_argument("--against", nargs="*", choices=THEIRS, default=list(THEIRS))
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1, help="workers of the others")
    parser.add_argument("--threads", type=int, default=1, help="of one inference of the others")
    parser.add_argument("--pool", type=int, default=40, help="threads of FastAPI's pool, in each worker")
    parser.add_argument("--config", type=Path, help="Ray config of ours; default: configs/local.yaml")
    parser.add_argument(
        "--ranges", type=Path, nargs="*", default=[], help="of ours, made by `face-api models calibrate`"
    )
    parser.add_argument("--no-bare", action="store_true", help="leave out the bare loop")
    parser.add_argument("--json", type=Path, help="write every round to this file")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run the rounds and print the table."""
    options = parse_arguments(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # as Ctrl-C: servers are stopped first
    options.against = servers.available(options.against)
    upload = multipart(read_picture(options.image))
    with wrk_for(upload) as wrk:
        comparison = Comparison(options, wrk, upload)
        try:
            for model in options.models:
                comparison.run(model)
        finally:
            if options.json is not None:
                options.json.write_text(json.dumps(comparison.to_json(), indent=1))
    print(f"{time.strftime('%Y-%m-%d')} · {machine()} · {options.rounds} rounds of {options.seconds} s\n")
    print(table(comparison.rounds, comparison.bare))
    for warning in warnings(comparison.rounds):
        _say(f"note: {warning}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
