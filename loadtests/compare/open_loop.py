"""Latencies at a constant rate, counted from when each request was due.

    python -m loadtests.compare.open_loop --url http://127.0.0.1:8000/api/v1/detect --rate 20 --seconds 20
    python -m loadtests.compare.open_loop --url http://127.0.0.1:8000/api/v1/detect --share 0.7 --seconds 20

Requests are due at even intervals, whether or not earlier ones have been answered: a server that stalls is
charged for everything that was due meanwhile (no coordinated omission). `--share` first measures with wrk
what the server can do with 32 clients, then asks for that share of it. The generator is aiohttp with
connections that stay open; it says how late it was itself.
FACE_API_KEY is sent as X-API-Key.
"""

import argparse
import asyncio
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import numpy as np

from loadtests.compare.upload import Upload, multipart, read_picture
from loadtests.compare.wrk import wrk_for

ANSWER_TIMEOUT_S = 60.0
SATURATING_CLIENTS = 32
WARM_UP = 8


@dataclass
class OpenLoop:
    """What came of the schedule."""

    rate: float
    latencies_ms: list[float] = field(default_factory=list)  # of good answers, from when each was due
    late_ms: list[float] = field(default_factory=list)  # how long after it was due each was sent
    failures: int = 0

    def report(self) -> str:
        """Two lines."""
        if not self.latencies_ms:
            return f"{self.rate:.1f} requests/s: {self.failures} failures, no good answer"
        p50, p99 = np.percentile(self.latencies_ms, [50, 99])
        return (
            f"{self.rate:.1f} requests/s, {len(self.latencies_ms)} answers, {self.failures} failures: "
            f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, p99/p50 {p99 / p50:.2f}\n"
            f"(the generator itself was late by {np.percentile(self.late_ms, 99):.1f} ms at p99)"
        )


async def drive(url: str, upload: Upload, rate: float, seconds: float) -> OpenLoop:
    """Send `rate` requests a second for so many seconds, and wait for every answer."""
    result = OpenLoop(rate)
    headers = {"Content-Type": upload.content_type}
    if key := os.environ.get("FACE_API_KEY"):
        headers["X-API-Key"] = key
    timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S)
    connector = aiohttp.TCPConnector(limit=0)  # no queue of our own
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session:

        async def send(due: float) -> None:
            sent = time.perf_counter()
            try:
                async with session.post(url, data=upload.body) as response:
                    await response.read()
                    is_good = response.status == 200
            except (aiohttp.ClientError, TimeoutError):
                is_good = False
            if not is_good:
                result.failures += 1
                return
            result.latencies_ms.append((time.perf_counter() - due) * 1e3)
            result.late_ms.append((sent - due) * 1e3)

        started = time.perf_counter()
        async with asyncio.TaskGroup() as requests:
            for number in range(round(rate * seconds)):
                due = started + number / rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                requests.create_task(send(due))
    return result


def saturation(url: str, upload: Upload, seconds: int) -> float:
    """Good answers a second with 32 clients in a closed loop."""
    with wrk_for(upload) as wrk:
        wrk.drive(url, SATURATING_CLIENTS, 2)  # warm-up, not counted
        driven = wrk.drive(url, SATURATING_CLIENTS, seconds)
    if not driven.answers:
        raise SystemExit(f"{url} gave no good answer")
    return driven.answers / driven.seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", required=True)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0)
    load = parser.add_mutually_exclusive_group(required=True)
    load.add_argument("--rate", type=float, help="requests per second")
    load.add_argument("--share", type=float, help="of what the server can do, such as 0.7")
    parser.add_argument("--saturation-seconds", type=int, default=8, help="for --share")
    options = parser.parse_args()
    upload = multipart(read_picture(options.image))
    rate: float | None = options.rate
    if rate is None:
        most = saturation(options.url, upload, options.saturation_seconds)
        print(f"{SATURATING_CLIENTS} clients: {most:.1f} requests/s")
        rate = most * options.share
    asyncio.run(drive(options.url, upload, rate, WARM_UP / rate))  # not counted
    print(asyncio.run(drive(options.url, upload, rate, options.seconds)).report())


if __name__ == "__main__":
    main()
