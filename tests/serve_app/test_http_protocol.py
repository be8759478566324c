"""What uvicorn answers before the application is reached, over a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from serve_app.doorway import Doorway
from serve_app.http_protocol import MOST_HEAD_BYTES
from serve_app.http_server import HttpServer


async def echo(scope: Any, receive: Any, send: Any) -> None:
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = json.dumps({"size": size}).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}
    )
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    doorway = await Doorway.open(f"test{uuid4().hex[:8]}", "127.0.0.1", 0)
    server = await HttpServer(echo, drain_s=5).start(doorway)
    yield doorway.port
    await server.stop()


async def exchange(port: int, *chunks: bytes) -> tuple[int, dict[str, Any]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(0.02)
    except ConnectionError:
        pass
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    body = await reader.readexactly(length)
    writer.close()
    return int(head.split()[1]), json.loads(body)


async def test_bytes_that_are_no_http_get_the_envelope(port: int) -> None:
    status, body = await exchange(port, b"\x16\x03\x01\x00\x00 hello\r\n\r\n")
    assert (status, set(body)) == (400, {"detail"})


async def test_a_key_with_a_nul_byte_gets_the_envelope(port: int) -> None:
    status, body = await exchange(port, b"GET / HTTP/1.1\r\nHost: a\r\nX-API-Key: xyl_\0\r\n\r\n")
    assert (status, set(body)) == (400, {"detail"})


async def test_a_megabyte_of_headers_is_refused_before_it_is_collected(port: int) -> None:
    head = b"GET / HTTP/1.1\r\nHost: a\r\nX-API-Key: xyl_" + b"0" * 2**20
    status, body = await exchange(port, *(head[i : i + 2**15] for i in range(0, 2**17, 2**15)))
    assert (status, set(body)) == (431, {"detail"})


@pytest.mark.parametrize("split", [0, 1, 2, 3, 4, 5])
async def test_a_large_body_right_behind_its_head_is_no_large_head(port: int, split: int) -> None:
    body = b"x" * (4 * MOST_HEAD_BYTES)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
    cut = len(head) - split
    status, answer = await exchange(port, head[:cut], head[cut:] + body)
    assert (status, answer["size"]) == (200, len(body))


async def test_requests_on_one_connection_are_judged_one_by_one(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(3):
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + b"a" * 50_000 + b"\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        await reader.readexactly(len(b'{"size": 0}'))
    writer.close()
