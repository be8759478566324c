"""A thousand pictures on S3 through `face-api redact`, killed with -9 half-way and started again.

    .venv/bin/python -m loadtests.redact --model scrfd_500m --real ../shared/data/wider_val_subset/images

Starts an S3 server of its own, kills the run when half of the pictures are there, goes on, and then compares
target, manifest and originals: each source has one line, each output the digest its line says, and every
pixel of every face that the detector finds in the original is black. Prints what it took.
"""

import argparse
import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deployments.decoding.decode import decode
from deployments.pipeline import LocalPipeline
from loadtests.machine import PROJECT, commit, machine
from loadtests.pictures import make_picture
from models.errors import FaceError
from models.scrfd import Scrfd
from models.types import DetectParams
from serve_app.embedded.s3 import EmbeddedS3
from serve_app.settings import load_settings
from serve_app.storage.objects import ObjectStore
from serve_app.storage.options import StorageOptions
from serve_app.storage_tier import environment_of

SOURCE, TARGET = "originals", "masked"
OPTIONS = ("--method", "solid", "--format", "png")
POLL_S = 0.1
MOST_PIXELS = 50_000_000


@dataclass(frozen=True, slots=True)
class Found:
    """What lies in the target after a run."""

    lines: list[dict[str, Any]]
    pictures: dict[str, bytes]

    @property
    def lines_by_status(self) -> dict[str, int]:
        """How many sources were masked, skipped, failed."""
        return dict(Counter(str(line["status"]) for line in self.lines))


@asynccontextmanager
async def opened(options: StorageOptions) -> AsyncIterator[ObjectStore]:
    """The bucket."""
    store = ObjectStore(options)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def upload(options: StorageOptions, files: Mapping[str, bytes]) -> None:
    """Put the originals there."""
    async with opened(options) as store:
        await store.ensure_bucket()
        for name, data in files.items():
            await store.put(f"{SOURCE}/{name}", data, "application/octet-stream")


async def look(options: StorageOptions) -> Found:
    """Read the whole target."""
    lines: list[dict[str, Any]] = []
    pictures: dict[str, bytes] = {}
    async with opened(options) as store:
        keys = sorted([found.key async for found in store.list(f"{TARGET}/")])
        for key in keys:
            name, data = key.removeprefix(f"{TARGET}/"), await store.get(key) or b""
            if name.startswith("manifest/"):
                lines += [json.loads(line) for line in data.splitlines()]
            elif name != "redaction.json":
                pictures[name] = data
    return Found(lines, pictures)


def start(options: StorageOptions, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """The command, as a user starts it."""
    places = f"s3://{options.bucket}/{SOURCE}", f"s3://{options.bucket}/{TARGET}"
    return subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "serve_app.cli", "redact", *places, *OPTIONS],
        env={**os.environ, "PYTHONPATH": str(PROJECT), **environment_of(options), **environment},
    )


def kill_half_way(options: StorageOptions, environment: Mapping[str, str], half: int) -> int:
    """Start, kill with -9 once so many pictures are there; how many were there then."""
    process = start(options, environment)
    done = asyncio.run(_wait_for(options, half, process))
    process.send_signal(signal.SIGKILL)
    process.wait()
    return done


async def _wait_for(options: StorageOptions, least: int, process: subprocess.Popen[bytes]) -> int:
    async with opened(options) as store:
        while True:
            done = sum([found.key.endswith(".png") async for found in store.list(f"{TARGET}/")])
            if done >= least:
                return done
            if process.poll() is not None:
                raise RuntimeError(f"redact ended with {process.returncode} before it could be killed")
            await asyncio.sleep(POLL_S)


def mistakes(files: Mapping[str, bytes], found: Found, scrfd: Scrfd) -> list[str]:
    """Everything that is not as it should be; see the module."""
    pipeline, wrong = LocalPipeline(scrfd, MOST_PIXELS), []
    counts = Counter(line["source"] for line in found.lines)
    wrong += [f"{name}: {counts[name]} lines" for name in files if counts[name] != 1]
    wrong += [f"{name}: a line, and no source" for name in counts if name not in files]
    outputs = {line["output"]: line for line in found.lines if line["status"] == "masked"}
    wrong += [f"{name}: no line" for name in found.pictures if name not in outputs]
    for name, line in outputs.items():
        if hashlib.sha256(found.pictures.get(name, b"")).hexdigest() != line["output_sha256"]:
            wrong.append(f"{name}: other bytes than its line says")
            continue
        original = files[line["source"]]
        wrong += [f"{name}: {problem}" for problem in _unmasked(original, found.pictures[name], pipeline)]
    return wrong


def _unmasked(original: bytes, masked: bytes, pipeline: LocalPipeline) -> list[str]:
    try:
        analysed = asyncio.run(pipeline.detect(original, DetectParams(), 60.0))
    except FaceError as error:
        return [f"masked, but its original is {error}"]
    picture = decode(masked, max_pixels=MOST_PIXELS, keep_picture=True).picture
    if picture is None or masked == original:
        return ["the original itself"]
    boxes = analysed.inferred.detections.boxes
    regions = np.concatenate([np.ceil(boxes[:, :2]), np.floor(boxes[:, 2:])], axis=1).astype(int)
    shown = [picture.pixels[y1:y2, x1:x2, :3].any() for x1, y1, x2, y2 in regions]
    return ["a face shows"] if any(shown) else []


def collection(pictures: int, real: Path | None) -> dict[str, bytes]:
    """Small generated pictures, real ones where there are some, and files that are no pictures or broken."""
    found = sorted(path for path in real.rglob("*") if path.is_file()) if real else []
    files = {path.name: path.read_bytes() for path in found[:pictures]}
    for seed in range(pictures - len(files)):
        files[f"{seed % 7}/{seed:05d}.jpg"] = make_picture(0.1, seed % 4, seed).data
    files |= {f"notes/{number}.txt": b"no picture" for number in range(pictures // 100)}
    whole = next(iter(files.values()))
    files |= {f"broken/{number}.jpg": whole[: 200 + number] for number in range(pictures // 100)}
    return files


def main() -> None:
    """Do it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--real", type=Path, help="folder with pictures to use before generated ones")
    parser.add_argument("--model", default="scrfd_500m")
    given = parser.parse_args()
    files = collection(given.pictures, given.real)
    environment = {"FACE_API_MODEL": given.model}
    settings = load_settings(model=given.model)
    with tempfile.TemporaryDirectory(prefix="face-api-redact-") as folder:
        s3 = EmbeddedS3(Path(folder))
        options = s3.start()
        try:
            asyncio.run(upload(options, files))
            began = time.perf_counter()
            killed_at = kill_half_way(options, environment, given.pictures // 2)
            first_s = time.perf_counter() - began
            lines = len(asyncio.run(look(options)).lines)
            began = time.perf_counter()
            code = start(options, environment).wait()
            second_s = time.perf_counter() - began
            found = asyncio.run(look(options))
            began = time.perf_counter()
            start(options, environment).wait()
            third_s = time.perf_counter() - began
            again = asyncio.run(look(options))
        finally:
            s3.stop()
    wrong = mistakes(files, found, Scrfd.load(settings.scrfd_options()))
    if [line for line in again.lines if line["status"] != "failed"] != [
        line for line in found.lines if line["status"] != "failed"
    ]:
        wrong.append("a run without work did some")
    print(f"{machine()}, commit {commit()}, {given.model}, {len(files)} files")
    print(f"killed after {first_s:.1f} s with {killed_at} pictures in place, {lines} of them in the manifest")
    print(f"second run: {second_s:.1f} s, exit code {code}: {found.lines_by_status}")
    print(f"third run, failures only: {third_s:.1f} s")
    print("\n".join(wrong) if wrong else "every source once, no face shows")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
