"""Requests a second over HTTP, where a request's time goes, and how many cores each stage takes.

    python -m loadtests.cores --model scrfd_10g --config configs/gpu.yaml --concurrency 8 32 128

One service without database and storage; closed loops by wrk in alternating rounds, medians over rounds.
While wrk drives, one more client asks now and then and reads the stages from its answers: their shares hold
for a loaded service. Cores are processor seconds a second of each deployment's processes; the GPU's share is
what `nvidia-smi` says, where there is one.
"""

import argparse
import shutil
import statistics
import subprocess
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from loadtests.compare.servers import OURS, Launch, Server, running
from loadtests.machine import machine
from loadtests.upload import Upload, read_picture
from loadtests.usage import Meter
from loadtests.wrk import Driven, Wrk, wrk_for
from serve_app.advise.stages import stages_of

PROBE_EVERY_S: Final = 0.05
WARM_UP_S: Final = 2
GPU: Final = ("nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "200")


@dataclass
class Seen:
    """What the rounds of one route and concurrency saw."""

    driven: list[Driven] = field(default_factory=list)
    stages_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    cores: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    gpu: list[float] = field(default_factory=list)  # percent

    def row(self, name: str, clients: int) -> str:
        """One line of the table."""
        total = statistics.median(self.stages_ms["total"])
        shares = ", ".join(
            f"{stage} {statistics.median(values) / total:.0%}"
            for stage, values in self.stages_ms.items()
            if stage not in ("total", "batch_size") and statistics.median(values) >= total / 100
        )
        medians = {part: statistics.median(cores) for part, cores in self.cores.items()}
        cores = ", ".join(f"{part} {value:.1f}" for part, value in medians.items() if value >= 0.05)
        batch = statistics.median(self.stages_ms["batch_size"]) if "batch_size" in self.stages_ms else None
        return " | ".join(
            [
                f"| {name}",
                str(clients),
                f"{statistics.median(driven.rate for driven in self.driven):.0f}",
                f"{statistics.median(driven.p50_ms for driven in self.driven):.1f}",
                f"{statistics.median(driven.p99_ms for driven in self.driven):.1f}",
                str(sum(driven.failures for driven in self.driven)),
                "" if batch is None else f"{batch:.0f}",
                shares,
                cores,
                f"{statistics.median(self.gpu):.0f} %" if self.gpu else "",
                "",
            ]
        ).rstrip()


HEAD: Final = (
    "| route | clients | requests/s | p50 ms | p99 ms | failed | batch | shares of a request's time | cores "
    "| GPU |\n" + "|---" * 10 + "|"
)


class Probe:
    """Asks while others drive, and keeps the stages of its answers."""

    def __init__(self, url: str, upload: Upload, seen: Seen) -> None:
        self._url = url
        self._upload = upload
        self._seen = seen
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> "Probe":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        headers = {"Content-Type": self._upload.content_type}
        with httpx.Client(timeout=60) as client:
            while not self._ended.wait(PROBE_EVERY_S):
                answer = client.post(self._url, content=self._upload.body, headers=headers)
                if answer.status_code == 200:
                    for stage, value in stages_of(answer.headers, answer.content).items():
                        self._seen.stages_ms[stage].append(value)


def one_round(
    server: Server, wrk: Wrk, upload: Upload, route: str, clients: int, seconds: int, seen: Seen
) -> None:
    """Drive once and add what was seen."""
    url = server.url(route)
    wrk.drive(url, clients, WARM_UP_S)
    watch = None
    if shutil.which(GPU[0]):
        watch = subprocess.Popen(GPU, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own command
    meter, began = Meter(server.tree.process.pid), time.perf_counter()
    with Probe(url, upload, seen):
        seen.driven.append(wrk.drive(url, clients, seconds))
    cost, passed = meter.read(), time.perf_counter() - began
    if watch is not None:
        watch.terminate()
        said, _ = watch.communicate()
        seen.gpu += [float(word) for word in said.split() if word.isdigit()]
    for part, usage in cost.usage.items():
        seen.cores[part].append(usage.cpu_s / passed)
    seen.cores["load generator"].append(cost.generator_cpu_s / passed)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="a published model or an .onnx file")
    parser.add_argument("--config", type=Path, help="Ray config; one that names a model keeps it")
    parser.add_argument("--routes", nargs="+", default=["detect", "mask"], help="such as mask?method=solid")
    parser.add_argument("--concurrency", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--image", type=Path)
    parser.add_argument("--seconds", type=int, default=6, help="of one round")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    upload = Upload(read_picture(options.image), "image/jpeg")
    cases = [(route, clients) for route in options.routes for clients in options.concurrency]
    seen = {case: Seen() for case in cases}
    launch = Launch(cores=1, threads=1, pool=1, config=options.config)
    with wrk_for(upload) as wrk, running(OURS, options.model, launch) as server:
        health = httpx.get(f"{server.base_url}/health", timeout=30).json()
        for _ in range(options.rounds):
            for route, clients in cases:
                one_round(server, wrk, upload, route, clients, options.seconds, seen[route, clients])
    print(
        f"{time.strftime('%Y-%m-%d')} · {machine()} · {health['model']}, {health.get('provider')}\n\n{HEAD}"
    )
    for (route, clients), each in seen.items():
        print(each.row(route, clients))


if __name__ == "__main__":
    main()
