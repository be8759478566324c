"""Ten thousand pictures deleted while uploads go on: is anything left, and how much slower are uploads?

    FACE_API_DATA_DIR=var .venv/bin/python -m loadtests.deletion --image photo.jpg --count 10000

Needs a running `face-api serve` of this folder, with storage and without rate limits. Makes the pictures in
the bucket and in the database, measures uploads to /mask alone, deletes every picture through the admin API
with the uploads beside it, and then compares the bucket with the rows.
"""

import argparse
import asyncio
import base64
import http.client
import json
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import numpy as np

from serve_app.database import Database
from serve_app.maintenance_cli import stored_settings
from serve_app.repositories.cleanup import CleanupRepository
from serve_app.repositories.images import Image, ImageRepository
from serve_app.settings import Settings
from serve_app.storage.names import original_key
from serve_app.storage.objects import ObjectStore
from serve_app.storage_tier import open_maintenance, storage_options

SEEDERS = 16
DELETERS = 4
UPLOADERS = 2


async def seed(settings: Settings, data: bytes, count: int) -> list[UUID]:
    """So many pictures in the bucket and in the database."""
    database, objects = (
        Database(settings.database or "", pool_size=SEEDERS),
        ObjectStore(storage_options(settings)),
    )
    await database.open()
    await objects.open()
    images = ImageRepository(database)
    ids = [uuid4() for _ in range(count)]
    left = list(ids)

    async def work() -> None:
        while left:
            image_id = left.pop()
            key = original_key(image_id, "seed.jpg")
            await objects.put(key, data, "image/jpeg")
            await images.insert(Image(image_id, "seed.jpg", "image/jpeg", len(data), 64, 64, key, None))

    await asyncio.gather(*(work() for _ in range(SEEDERS)))
    await objects.close()
    await database.close()
    return ids


async def count_strays(settings: Settings) -> int:
    """Objects in the bucket that no row knows, after a maintenance pass."""
    async with open_maintenance(settings) as maintenance:
        await maintenance.run_once(at_once=True)
    database, objects = Database(settings.database or "", pool_size=1), ObjectStore(storage_options(settings))
    await database.open()
    await objects.open()
    keys = [item.key async for item in objects.list("")]
    known = await CleanupRepository(database).known_keys(keys)
    await objects.close()
    await database.close()
    return len(set(keys) - known)


class Uploads:
    """Clients that upload one after the other until stopped."""

    def __init__(self, url: str, data: bytes, api_key: str) -> None:
        self.latencies_ms: list[float] = []
        self.failures = 0
        self._stopped = threading.Event()
        target = urlsplit(url)
        self._threads = [
            threading.Thread(target=self._run, args=(target.hostname, target.port, data, api_key))
            for _ in range(UPLOADERS)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> "Uploads":
        """Wait for the last answers."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        return self

    def report(self, name: str) -> str:
        """Median and 99th percentile."""
        p50, p99 = np.percentile(self.latencies_ms, [50, 99])
        counts = f"{len(self.latencies_ms)} uploads, {self.failures} failed"
        return f"{name}: {counts}, p50 {p50:.1f} ms, p99 {p99:.1f} ms"

    def _run(self, host: str, port: int, data: bytes, api_key: str) -> None:
        connection = http.client.HTTPConnection(host, port, timeout=60)
        headers = {"Content-Type": "image/jpeg", "X-API-Key": api_key}
        while not self._stopped.is_set():
            started = time.perf_counter()
            connection.request("POST", "/api/v1/mask", data, headers)
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                self.failures += 1
            else:
                self.latencies_ms.append((time.perf_counter() - started) * 1e3)
        connection.close()


def delete_all(url: str, ids: list[UUID], credentials: str) -> float:
    """Deletions per second through the admin API."""
    target, left = urlsplit(url), list(ids)
    headers = {"Authorization": "Basic " + base64.b64encode(credentials.encode()).decode()}

    def work() -> None:
        connection = http.client.HTTPConnection(target.hostname or "", target.port, timeout=60)
        while True:
            try:
                image_id = left.pop()
            except IndexError:
                return
            connection.request("DELETE", f"/api/v1/admin/images/{image_id}", headers=headers)
            response = connection.getresponse()
            response.read()
            if response.status != 204:
                raise SystemExit(f"a deletion got {response.status}")

    started = time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(DELETERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(ids) / (time.perf_counter() - started)


def main() -> None:
    """Seed, measure, delete, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=20.0, help="of uploads alone")
    options = parser.parse_args()
    data = options.image.read_bytes()
    with stored_settings() as settings:
        credentials = json.loads(settings.credentials_file.read_text())
        url, api_key = credentials["url"], credentials["api_key"]
        admin = f"{credentials['admin_user']}:{credentials['admin_password']}"
        ids = asyncio.run(seed(settings, b"x" * 1000, options.count))
        alone = Uploads(url, data, api_key)
        time.sleep(options.seconds)
        print(alone.stop().report("alone"))
        beside = Uploads(url, data, api_key)
        rate = delete_all(url, ids, admin)
        print(beside.stop().report("beside deletions"))
        print(f"{options.count} deleted, {rate:.0f} a second; strays: {asyncio.run(count_strays(settings))}")


if __name__ == "__main__":
    main()
