"""Requests per second of a running service, beside a bare loop of the same stages in one process.

    python -m loadtests.throughput --image photo.jpg --concurrency 8 --seconds 10 --rounds 3

Rounds alternate between the routes (/detect and /mask) and the bare loop, so that a noisy machine hits all
alike; the figures are medians over rounds. The load generator is Python threads over http.client: it costs
about 0.3 ms of processor per request, which it takes from the same machine.
"""

import argparse
import asyncio
import http.client
import json
import os
import statistics
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from deployments.pipeline import LocalPipeline
from deployments.types import Analysed, MaskParams
from models.scrfd import Scrfd
from models.types import DetectParams
from serve_app.advise.stages import server_timing
from serve_app.settings import load_settings

STAGES = ("decode", "preprocess", "queue", "blob", "inference", "postprocess", "nms", "mask", "encode")


@dataclass
class Round:
    """What one round of one target saw."""

    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    totals_ms: list[float] = field(default_factory=list)
    stages_ms: dict[str, list[float]] = field(default_factory=dict)
    failures: int = 0

    @property
    def rate(self) -> float:
        """Successful requests per second."""
        return len(self.latencies_ms) / self.seconds

    def add(self, latency_ms: float, total_ms: float, stages_ms: dict[str, float]) -> None:
        """Count one success."""
        self.latencies_ms.append(latency_ms)
        self.totals_ms.append(total_ms)
        for stage, value in stages_ms.items():
            self.stages_ms.setdefault(stage, []).append(value)


def over_http(url: str, route: str, body: bytes, concurrency: int, seconds: float, api_key: str) -> Round:
    """Closed loop: `concurrency` clients, each with one connection and one request at a time."""
    target, result, lock = urlsplit(url), Round(), threading.Lock()
    headers = {"Content-Type": "image/jpeg", **({"X-API-Key": api_key} if api_key else {})}
    end = time.perf_counter() + seconds

    def client() -> None:
        connection = http.client.HTTPConnection(target.hostname or "127.0.0.1", target.port, timeout=60)
        while time.perf_counter() < end:
            started = time.perf_counter()
            connection.request("POST", f"/api/v1/{route}", body, headers)
            response = connection.getresponse()
            payload = response.read()
            latency_ms = (time.perf_counter() - started) * 1e3
            with lock:
                if response.status != 200:
                    result.failures += 1
                elif route == "detect":
                    profile = json.loads(payload)["profiling"]
                    stages = {s: profile[f"{s}_ms"] for s in STAGES if profile.get(f"{s}_ms") is not None}
                    result.add(latency_ms, profile["total_ms"], stages)
                else:
                    stages = server_timing(response.headers["Server-Timing"])
                    result.add(latency_ms, stages.pop("total"), stages)
        connection.close()

    clients = [threading.Thread(target=client) for _ in range(concurrency)]
    started = time.perf_counter()
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    result.seconds = time.perf_counter() - started
    return result


def bare_loop(pipeline: LocalPipeline, route: str, body: bytes, seconds: float) -> Round:
    """The same stages one after the other in this process, without HTTP and Ray."""
    result = Round()

    async def loop() -> None:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            started = time.perf_counter()
            stages: dict[str, float] = {}
            if route == "detect":
                analysed = await pipeline.detect(body, DetectParams(), 60)
            else:
                anonymised = await pipeline.mask(body, DetectParams(), MaskParams(), 60)
                analysed = anonymised.analysed
                stages = {"mask": anonymised.masked.mask_ms, "encode": anonymised.masked.encode_ms}
            latency_ms = (time.perf_counter() - started) * 1e3
            result.add(latency_ms, latency_ms, {**_stages(analysed), **stages})

    started = time.perf_counter()
    asyncio.run(loop())
    result.seconds = time.perf_counter() - started
    return result


def _stages(analysed: Analysed) -> dict[str, float]:
    inferred = analysed.inferred
    return {
        "decode": analysed.decode_ms,
        "preprocess": analysed.preprocess_ms,
        "blob": inferred.blob_ms,
        "inference": inferred.inference_ms,
        "postprocess": inferred.detections.postprocess_ms,
        "nms": inferred.detections.nms_ms,
    }


def report(name: str, rounds: list[Round]) -> str:
    """One line of a Markdown table: medians over rounds, shares of the time inside the service."""
    latencies = np.concatenate([r.latencies_ms for r in rounds])
    total = statistics.median([t for r in rounds for t in r.totals_ms])
    medians = {
        stage: statistics.median([v for r in rounds for v in r.stages_ms.get(stage, [])])
        for stage in STAGES
        if any(stage in r.stages_ms for r in rounds)
    }
    shares = ", ".join(f"{stage} {value / total:.0%}" for stage, value in medians.items())
    rate = statistics.median(r.rate for r in rounds)
    p50, p99 = np.percentile(latencies, [50, 99])
    failures = sum(r.failures for r in rounds)
    return f"| {name} | {rate:.1f} | {p50:.1f} | {p99:.1f} | {failures} | {shares} |"


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--routes", nargs="+", default=["detect", "mask"], help="such as mask?store=none")
    parser.add_argument("--no-bare", action="store_true", help="leave out the bare loop")
    options = parser.parse_args()
    body, api_key = options.image.read_bytes(), os.environ.get("FACE_API_KEY", "")
    settings = load_settings()
    pipeline = (
        None
        if options.no_bare
        else LocalPipeline(Scrfd.load(settings.scrfd_options()), settings.max_image_pixels)
    )
    results: dict[str, list[Round]] = {}
    for route in options.routes:  # warm-up, not counted
        over_http(options.url, route, body, options.concurrency, 2.0, api_key)
    for _ in range(options.rounds):
        for route in options.routes:
            measured = over_http(options.url, route, body, options.concurrency, options.seconds, api_key)
            results.setdefault(f"/{route}, {options.concurrency} clients", []).append(measured)
            if pipeline is not None:
                bare = bare_loop(pipeline, route, body, options.seconds)
                results.setdefault(f"{route}, bare loop", []).append(bare)
    print("| target | requests/s | p50 ms | p99 ms | failures | share of the time in the service |")
    print("|---|---|---|---|---|---|")
    for name, rounds in results.items():
        print(report(name, rounds))


if __name__ == "__main__":
    main()
