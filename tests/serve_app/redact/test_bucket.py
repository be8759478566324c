"""From and to prefixes of a bucket, against a real S3 server."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from serve_app.embedded import rclone
from serve_app.embedded.errors import EmbeddedError
from serve_app.embedded.s3 import EmbeddedS3
from serve_app.redact import run as run_module
from serve_app.redact.errors import PlaceError
from serve_app.storage.objects import ObjectStore
from serve_app.storage.options import StorageOptions
from tests.serve_app.redact.conftest import Bench, Killed, picture, shows_no_face

try:
    rclone.find_program()
    is_rclone_here = True
except EmbeddedError:
    is_rclone_here = False

pytestmark = [
    pytest.mark.s3,
    pytest.mark.skipif(not is_rclone_here, reason="needs pip install '.[embedded]'"),
]
T = TypeVar("T")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StorageOptions]:
    s3 = EmbeddedS3(tmp_path_factory.mktemp("s3"))
    yield s3.start()
    s3.stop()


class Bucket:
    """The server's bucket, emptied."""

    def __init__(self, options: StorageOptions) -> None:
        self.options = options
        self.name = options.bucket

    def _with(self, work: Callable[[ObjectStore], Coroutine[Any, Any, T]]) -> T:
        async def run() -> T:
            store = ObjectStore(self.options)
            await store.open()
            try:
                await store.ensure_bucket()
                return await work(store)
            finally:
                await store.close()

        return asyncio.run(run())

    def put(self, objects: dict[str, bytes]) -> None:
        async def work(store: ObjectStore) -> None:
            for key, data in objects.items():
                await store.put(key, data, "application/octet-stream")

        self._with(work)

    def all(self, prefix: str = "") -> dict[str, bytes]:
        async def work(store: ObjectStore) -> dict[str, bytes]:
            keys = [found.key async for found in store.list(prefix)]
            return {key: await store.get(key) or b"" for key in keys}

        return self._with(work)

    def clear(self) -> None:
        async def work(store: ObjectStore) -> None:
            await store.delete([found.key async for found in store.list("")])

        self._with(work)

    def lines(self, target: str) -> list[dict[str, Any]]:
        parts = self.all(f"{target}/manifest/")
        return [json.loads(line) for _, data in sorted(parts.items()) for line in data.splitlines()]


@pytest.fixture
def bucket(server: StorageOptions) -> Bucket:
    bucket = Bucket(server)
    bucket.clear()
    return bucket


def test_pictures_below_a_prefix_are_masked_below_another(bench: Bench, bucket: Bucket) -> None:
    originals = {"in/a.png": picture(), "in/sub/ü b.png": picture(4, 4), "in/c.txt": b"no picture"}
    bucket.put({**originals, "inner/d.png": picture()})
    totals = bench.run(f"s3://{bucket.name}/in", f"s3://{bucket.name}/out", storage=bucket.options)
    assert (totals.masked, totals.skipped, totals.failed) == (2, 1, 0)
    found = bucket.all()
    assert {key: found[key] for key in originals} == originals
    made = {key for key in found if key.startswith("out/")}
    assert made == {
        "out/redaction.json",
        "out/manifest/000001.jsonl",
        "out/a.png",
        "out/sub/ü b.png",
    }
    assert shows_no_face(found["out/a.png"])
    assert shows_no_face(found["out/sub/ü b.png"])


def test_a_killed_run_goes_on_and_does_each_source_once(
    bench: Bench, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put({f"in/{number}.png": picture(number, number) for number in range(8)})
    places = f"s3://{bucket.name}/in", f"s3://{bucket.name}/out"
    monkeypatch.setattr(run_module, "FLUSH_RECORDS", 2)
    with pytest.raises(Killed):
        bench.run(*places, storage=bucket.options, stop_after=5)
    with monkeypatch.context() as patch:  # the picture after those that were written is there without a line
        patch.setattr(run_module.Journal, "flush", lambda self: None)
        with pytest.raises(Killed):
            bench.run(*places, storage=bucket.options, stop_after=1)
    assert bench.run(*places, storage=bucket.options).masked == 8
    counts = Counter(line["source"] for line in bucket.lines("out"))
    assert counts == {f"{number}.png": 1 for number in range(8)}
    pictures = {key: data for key, data in bucket.all("out/").items() if key.endswith(".png")}
    assert len(pictures) == 8
    assert all(map(shows_no_face, pictures.values()))
    bench.run(*places, storage=bucket.options)
    assert bench.pool.asked == []


def test_a_changed_object_is_done_anew(bench: Bench, bucket: Bucket) -> None:
    places = f"s3://{bucket.name}/in", bench.target
    bucket.put({"in/a.png": picture(), "in/b.png": picture()})
    bench.run(*places, storage=bucket.options)
    bucket.put({"in/b.png": picture(6, 6)})
    bench.run(*places, storage=bucket.options)
    assert bench.pool.asked == [["b.png"]]


def test_a_prefix_with_other_objects_is_refused(bench: Bench, bucket: Bucket) -> None:
    bench.add("a.png", picture())
    bucket.put({"out/precious.png": b"precious"})
    with pytest.raises(PlaceError, match="precious"):
        bench.run(bench.source, f"s3://{bucket.name}/out", storage=bucket.options)
    assert bucket.all("out/") == {"out/precious.png": b"precious"}


def test_a_large_object_is_judged_by_its_beginning(bench: Bench, bucket: Bucket) -> None:
    bucket.put(
        {
            "in/film.mp4": b"\0\0\0\x18ftypisom" + b"x" * 3_000_000,
            "in/large.png": picture() + b"x" * 1_000_000,
        }
    )
    totals = bench.run(f"s3://{bucket.name}/in", bench.target, storage=bucket.options, max_bytes=1_000_000)
    assert (totals.masked, totals.skipped, totals.failed) == (0, 1, 1)
