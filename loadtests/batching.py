"""What the Detector's batches reach of the bare session: pictures a second by the size of a batch.

    python -m loadtests.batching --model scrfd_10g --provider cuda --sizes 1 4 16 32

The bare session runs one stacked batch over and over, in as many threads as keep it busy: no stacking, no
boxes, no queue. The Detector's batches come from its own queue (`deployments.detection`), fed by twice as
many clients as its batches in work hold, and each picture's faces are read: all that the stage does, without
the transport between processes. Rounds alternate; figures are medians over rounds.
"""

import argparse
import asyncio
import itertools
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from deployments.deadline import Deadline
from deployments.decoding.decode import decode
from deployments.detection.batch import BatchItem, infer_batch
from deployments.detection.batcher import Batcher
from deployments.types import Inferred
from loadtests.compare.servers import absolute
from loadtests.upload import read_picture
from models.errors import FaceError
from models.scrfd import Scrfd
from models.types import Canvas, DetectParams
from serve_app.settings import load_settings

DISTINCT: Final = 64
"""Canvases in memory of their own, as those of different requests are."""
WAIT_S: Final = 0.002  # of the configs for GPUs


def bare(scrfd: Scrfd, canvases: Sequence[Canvas], size: int, seconds: float) -> float:
    """Pictures a second of the session alone, with batches of `size`."""
    counts = [0] * scrfd.workers
    barrier = threading.Barrier(scrfd.workers)
    spans: list[tuple[float, float]] = []

    def work(number: int) -> None:
        blob = scrfd.stack(canvases[:size])  # by this thread: it is its memory
        scrfd.infer(blob, is_alone=False)
        barrier.wait()
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            scrfd.infer(blob, is_alone=False)
            counts[number] += size
        spans.append((began, time.perf_counter()))

    threads = [threading.Thread(target=work, args=[number]) for number in range(scrfd.workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (max(end for _, end in spans) - min(began for began, _ in spans))


async def batched(scrfd: Scrfd, canvases: Sequence[Canvas], size: int, seconds: float) -> float:
    """Pictures a second of the Detector's queue, with batches of at most `size`."""
    batcher: Batcher[BatchItem, Inferred] = Batcher(lambda items: infer_batch(scrfd, items), scrfd.workers)
    batcher.configure(size, WAIT_S)
    turns = itertools.cycle(canvases)
    deadline = Deadline.after(3600.0)
    began = time.perf_counter()
    count = 0

    async def client() -> None:
        nonlocal count
        while time.perf_counter() - began < seconds:
            answer = await batcher.submit(
                BatchItem(next(turns), DetectParams(), deadline, time.perf_counter())
            )
            if isinstance(answer, FaceError):
                raise answer
            count += 1

    await asyncio.gather(*(client() for _ in range(2 * size * scrfd.workers)))
    return count / (time.perf_counter() - began)


def copies(picture: bytes, scrfd: Scrfd) -> list[Canvas]:
    """Canvases of one picture, each in memory of its own."""
    canvas = decode(picture, max_pixels=10**9, keep_picture=False).canvas
    scrfd.make_ready(canvas)
    return [replace(canvas, pixels=canvas.pixels.copy()) for _ in range(DISTINCT)]


def main(arguments: list[str] | None = None) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="a published model or an .onnx file")
    parser.add_argument("--provider", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--image", type=Path)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each size in each round")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    settings = load_settings(
        model=absolute(options.model), provider=options.provider, precision=options.precision
    )
    scrfd = Scrfd.load(settings.scrfd_options())
    canvases = copies(read_picture(options.image), scrfd)
    alone: dict[int, list[float]] = {size: [] for size in options.sizes}
    queued: dict[int, list[float]] = {size: [] for size in options.sizes}
    for _ in range(options.rounds):
        for size in options.sizes:
            alone[size].append(bare(scrfd, canvases, size, options.seconds))
            queued[size].append(asyncio.run(batched(scrfd, canvases, size, options.seconds)))
    print(f"{scrfd.name}, {scrfd.provider}\n\n| batch | bare session, pictures/s | the Detector's batches |")
    print("|---|---|---|")
    best = max(statistics.median(rates) for rates in alone.values())
    for size in options.sizes:
        single, mine = statistics.median(alone[size]), statistics.median(queued[size])
        print(f"| {size} | {single:.0f} | {mine:.0f} ({mine / best:.2f} of the best bare) |")


if __name__ == "__main__":
    main()
