"""Pictures a second at every level of detail: our own stages in one process, without HTTP and Ray.

    python -m loadtests.detail_cost --images p1080.jpg photos/ --models scrfd_500m scrfd_2.5g --rounds 5

The levels take turns, so that whatever else the machine does meets all of them; medians over the rounds, with
one inference thread.
"""

import argparse
import asyncio
import itertools
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, get_args

from deployments.pipeline import LocalPipeline
from loadtests.compare.servers import absolute
from models.scrfd import Scrfd
from models.types import Detail, DetectParams
from serve_app.oneshot import pictures
from serve_app.settings import load_settings

DETAILS: Final[tuple[Detail, ...]] = get_args(Detail)
TIMEOUT_S: Final = 300.0


async def rate(pipeline: LocalPipeline, uploads: Sequence[bytes], detail: Detail, seconds: float) -> float:
    """Pictures a second, one after the other, over and over."""
    params = DetectParams(detail=detail)
    started = time.perf_counter()
    for count, upload in enumerate(itertools.cycle(uploads), start=1):
        await pipeline.detect(upload, params, TIMEOUT_S)
        if (elapsed := time.perf_counter() - started) >= seconds and count % len(uploads) == 0:
            return count / elapsed
    raise AssertionError("there are no pictures")


async def measure(model: str, uploads: Sequence[bytes], seconds: float, rounds: int) -> dict[Detail, float]:
    """Pictures a second at each level: the median of its rounds."""
    settings = load_settings(model=absolute(model), threads=1)
    pipeline = LocalPipeline(Scrfd.load(settings.scrfd_options()), settings.max_image_pixels)
    rates: dict[Detail, list[float]] = {detail: [] for detail in DETAILS}
    for detail in DETAILS:
        await rate(pipeline, uploads, detail, 0.0)  # every shape is compiled
    for _ in range(rounds):
        for detail in DETAILS:
            rates[detail].append(await rate(pipeline, uploads, detail, seconds))
    return {detail: statistics.median(of_detail) for detail, of_detail in rates.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", nargs="+", type=Path, required=True, help="pictures, or folders of them")
    parser.add_argument("--models", nargs="+", default=["scrfd_500m", "scrfd_2.5g"])
    parser.add_argument("--seconds", type=float, default=3.0, help="of each level in each round, at least")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"| pictures | model | {' | '.join(DETAILS)} |")
    print("|---" * (2 + len(DETAILS)) + "|")
    for group in options.images:
        uploads = [path.read_bytes() for path in pictures([group])]
        for model in options.models:
            rates = asyncio.run(measure(model, uploads, options.seconds, options.rounds))
            cells = " | ".join(f"{rates[detail]:.1f}" for detail in DETAILS)
            print(f"| {group.name} | {model} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
