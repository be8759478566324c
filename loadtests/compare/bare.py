"""The limit: our own stages in a bare loop, without HTTP and Ray, one process for each core.

    python -m loadtests.compare.bare --model scrfd_500m --routes detect mask --seconds 8

Each process works on one picture after the other through `LocalPipeline`, with one inference thread and the
launcher's allocator switches. What the service reaches of this is what its HTTP, processes and queues cost.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

from deployments.pipeline import LocalPipeline
from deployments.types import MaskParams
from loadtests.compare.servers import absolute
from loadtests.upload import read_picture
from models.scrfd import Scrfd
from models.types import DetectParams
from serve_app.launcher import RAY_SWITCHES
from serve_app.settings import load_settings

WARM_UP = 3
ANSWER_TIMEOUT_S = 60.0


def load_pipeline() -> LocalPipeline:
    """As the settings in the environment say."""
    settings = load_settings()
    return LocalPipeline(Scrfd.load(settings.scrfd_options()), settings.max_image_pixels)


async def one(pipeline: LocalPipeline, route: str, picture: bytes) -> None:
    """Answer one request."""
    if route == "mask":
        await pipeline.mask(picture, DetectParams(), MaskParams(), ANSWER_TIMEOUT_S)
    else:
        await pipeline.detect(picture, DetectParams(), ANSWER_TIMEOUT_S)


def work(picture: bytes, routes: list[str], seconds: float, barrier: Barrier) -> list[float]:
    """Pictures a second of this process for each route, beside the others."""
    pipeline = load_pipeline()

    async def loop(route: str) -> float:
        for _ in range(WARM_UP):
            await one(pipeline, route, picture)
        barrier.wait()
        started, count = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - started) < seconds:
            await one(pipeline, route, picture)
            count += 1
        return count / elapsed

    return [asyncio.run(loop(route)) for route in routes]


def _run(
    picture: bytes,
    routes: list[str],
    seconds: float,
    barrier: Barrier,
    answers: "multiprocessing.Queue[list[float]]",
) -> None:
    answers.put(work(picture, routes, seconds, barrier))


def measure(picture: bytes, routes: list[str], seconds: float, processes: int) -> list[float]:
    """Pictures a second of all processes together, for each route."""
    load_pipeline()  # prepares the weights once, before all want them
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(processes), context.Queue()
    workers = [
        context.Process(target=_run, args=(picture, routes, seconds, barrier, answers), daemon=True)
        for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    rates: list[list[float]] = []
    while len(rates) < processes:
        if any(worker.exitcode for worker in workers):
            raise SystemExit("a process of the bare loop failed")
        if not answers.empty():
            rates.append(answers.get())
        time.sleep(0.05)
    for worker in workers:
        worker.join()
    return [sum(of_route) for of_route in zip(*rates, strict=True)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="a published model or an .onnx file; default: FACE_API_MODEL")
    parser.add_argument("--routes", nargs="+", choices=["detect", "mask"], default=["detect", "mask"])
    parser.add_argument("--image", type=Path)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each route")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", action="store_true", help="print {route: pictures/s} only")
    options = parser.parse_args()
    if options.model:
        os.environ["FACE_API_MODEL"] = absolute(options.model)
    os.environ["FACE_API_THREADS"] = "1"
    os.environ |= {name: value for name, value in RAY_SWITCHES.items() if name.startswith("MALLOC_")}
    picture = read_picture(options.image)
    rates = measure(picture, options.routes, options.seconds, options.processes)
    result = dict(zip(options.routes, rates, strict=True))
    if options.json:
        print(json.dumps(result))
        return
    for route, rate in result.items():
        print(f"{route}: {rate:.1f} pictures/s in {options.processes} processes")


if __name__ == "__main__":
    main()
