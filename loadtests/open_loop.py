"""Latencies at a constant rate, counted from when each request was due.

    python -m loadtests.open_loop --url http://127.0.0.1:8000/api/v1/detect --rate 20 --seconds 20
    python -m loadtests.open_loop --url http://127.0.0.1:8000/api/v1/detect --share 0.7 --seconds 20

`--share` first measures with wrk what the server can do with 32 clients, then asks for that share of it;
the rest is `serve_app.advise.load`. For one URL of any server; `python -m loadtests` does this for every
scenario of ours. FACE_API_KEY is sent as X-API-Key.
"""

import argparse
import os
from pathlib import Path

from loadtests.upload import Upload, multipart, read_picture
from loadtests.wrk import wrk_for
from serve_app.advise.load import Request, at_rate, run
from serve_app.advise.outcome import Outcome, percentile

SATURATING_CLIENTS = 32
WARM_UP = 8


def report(asked: float, outcome: Outcome) -> str:
    """Two lines."""
    counts = f"{outcome.answers} answers, {outcome.sheds} sheds, {outcome.errors.total()} errors"
    if not outcome.answers:
        return f"{asked:.1f} requests/s: {counts}"
    p50, p99 = outcome.percentile(50), outcome.percentile(99)
    return (
        f"{asked:.1f} requests/s, {counts}: p50 {p50:.1f} ms, p99 {p99:.1f} ms, p99/p50 {p99 / p50:.2f}\n"
        f"(the generator itself was late by {percentile(outcome.late_ms, 99):.1f} ms at p99)"
    )


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
    headers = {"Content-Type": upload.content_type, "X-API-Key": os.environ.get("FACE_API_KEY", "")}
    request = Request(options.url, upload.body, headers)
    run(at_rate([request], rate, WARM_UP / rate))  # not counted
    print(report(rate, run(at_rate([request], rate, options.seconds))))


if __name__ == "__main__":
    main()
