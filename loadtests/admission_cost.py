"""Processor time that API keys, rate limits and counting add to a request in the ingress.

    python -m loadtests.admission_cost --rounds 7 --requests 400

Starts two services beside each other, one with all three and one with none, and sends both the same small
picture in alternating rounds. What counts is the processor time of the ingress replica alone, as the kernel
accounts it, over the requests of a round. Then, in this process, what looking up a key takes with 1 and with
10,000 keys in the cache.
"""

import argparse
import asyncio
import http.client
import io
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
import psutil
from PIL import Image

from serve_app.repositories.api_keys import KnownKey
from serve_app.services.api_keys import KeyCache, new_key

START_TIMEOUT_S = 120.0
HIGH = "10000000/minute"
LOOKUPS = 100_000


@dataclass
class Service:
    """One running service."""

    process: subprocess.Popen[bytes]
    port: int
    ingress: psutil.Process
    keys: list[str]

    def cpu_ms(self, requests: int) -> float:
        """Send so many requests; processor milliseconds of the ingress for each."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        before = sum(self.ingress.cpu_times()[:2])
        for index in range(requests):
            headers = {"Content-Type": "image/jpeg"}
            if self.keys:
                headers["X-API-Key"] = self.keys[index % len(self.keys)]
            connection.request("POST", "/api/v1/detect", PICTURE, headers)
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                raise SystemExit(f"a request got {response.status}")
        connection.close()
        return (sum(self.ingress.cpu_times()[:2]) - before) / requests * 1e3


def small_picture() -> bytes:
    """A JPEG that costs the stages as little as possible."""
    file = io.BytesIO()
    Image.fromarray(np.full((64, 64, 3), 128, np.uint8)).save(file, "JPEG")
    return file.getvalue()


PICTURE = small_picture()


def start(folder: Path, variables: dict[str, str]) -> tuple[subprocess.Popen[bytes], int, psutil.Process]:
    """A service on a free port, once it is ready, and its ingress replica."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = {
        **os.environ,
        "PORT": str(port),
        "FACE_API_HOST": "127.0.0.1",
        "FACE_API_DATA_DIR": str(folder),
        "FACE_API_METRICS_PORT": "0",
        "FACE_API_STORAGE_ENABLED": "false",
        **variables,
    }
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "serve_app.cli", "serve"], env=environment, stdout=output, stderr=output
        )
    deadline = time.monotonic() + START_TIMEOUT_S
    while b"Ctrl-C stops it" not in log.read_bytes():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise SystemExit(f"the service did not start:\n{log.read_text()}")
        time.sleep(0.2)
    replicas = psutil.Process(process.pid).children(recursive=True)
    (ingress,) = [p for p in replicas if ":Ingress" in "".join(p.cmdline())]
    return process, port, ingress


class EveryKey:
    """A database that knows every key it is asked about."""

    async def known(self, hashes: Sequence[bytes]) -> dict[bytes, KnownKey]:
        """All of them, active."""
        return {key_hash: KnownKey(uuid4(), is_active=True) for key_hash in hashes}


async def lookup_us(count: int) -> float:
    """Processor microseconds of one lookup with so many keys in the cache."""
    cache = KeyCache(EveryKey(), grace_s=0)
    cache.listen_state(hears_changes=True, is_away=False)
    keys = [new_key() for _ in range(count)]
    for key in keys:
        await cache.find(key)
    before = time.process_time()
    for index in range(LOOKUPS):
        await cache.find(keys[index % count])
    return (time.process_time() - before) / LOOKUPS * 1e6


def main() -> None:
    """Run the rounds and print the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=400, help="of one round")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        services = {}
        off = dict.fromkeys(("FACE_API_RATE_LIMIT_DETECT", "FACE_API_DATABASE_URL"), "off")
        variants = {
            "all on": {"FACE_API_RATE_LIMIT_DETECT": HIGH},
            "all off": {**off, "FACE_API_API_KEY_ENABLED": "false"},
        }
        for name, variables in variants.items():
            data_dir = folder / name.replace(" ", "-")
            process, port, ingress = start(data_dir, variables)
            stack.callback(process.wait)
            stack.callback(process.send_signal, signal.SIGINT)
            keys: list[str] = []
            if name == "all on":
                keys = [json.loads((data_dir / "credentials.json").read_text())["api_key"]]
            services[name] = Service(process, port, ingress, keys)
        measured: dict[str, list[float]] = {name: [] for name in services}
        for service in services.values():
            service.cpu_ms(100)  # warm-up, not counted
        for _ in range(options.rounds):
            for name, service in services.items():
                measured[name].append(service.cpu_ms(options.requests))
        added = [on - off for on, off in zip(measured["all on"], measured["all off"], strict=True)]
        for name, values in measured.items():
            print(f"{name}: {statistics.median(values):.3f} ms of processor per request in the ingress")
        print(
            f"added: {statistics.median(added):.3f} ms (each round: {', '.join(f'{a:.3f}' for a in added)})"
        )
    for count in (1, 10_000, 1, 10_000):
        print(f"lookup with {count} keys cached: {asyncio.run(lookup_us(count)):.2f} µs")


if __name__ == "__main__":
    main()
