"""What uvicorn answers before the application is reached, over a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from serve_app.doorway import Doorway
from serve_app.http_protocol import MOST_HEAD_BYTES, MOST_HEADERS
from serve_app.http_server import HttpServer


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Says how large the body was, and what the headers are once it has come."""
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    names = [name.decode() for name, _ in scope["headers"]]
    body = json.dumps({"size": size, "headers": names}).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}
    )
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def port(session: str) -> AsyncIterator[int]:
    doorway = await Doorway.open(session, "127.0.0.1", 0)
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
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
    writer.close()


POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNK = b"5\r\nabcde\r\n0\r\n\r\n"
TWO_READINGS = {
    "a length and chunks": (400, POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNK),
    "chunks and a length": (400, POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + CHUNK),
    "two lengths": (400, POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef"),
    "a list of lengths": (400, POST + b"Content-Length: 5, 5\r\n\r\nabcde"),
    "a length with a sign": (400, POST + b"Content-Length: +5\r\n\r\nabcde"),
    "a negative length": (400, POST + b"Content-Length: -5\r\n\r\nabcde"),
    "a length in hex": (400, POST + b"Content-Length: 0x5\r\n\r\nabcde"),
    "a length without end": (400, POST + b"Content-Length: %s\r\n\r\nabcde" % (b"9" * 40)),
    "a space before a colon": (400, POST + b"Content-Length : 5\r\n\r\nabcde"),
    "a folded header": (400, POST + b"X: a\r\n b\r\n\r\n"),
    "bare line feeds": (400, b"GET / HTTP/1.1\nHost: a\n\n"),
    "a carriage return in a value": (400, POST + b"X: a\rb\r\n\r\n"),
    "compressed chunks": (501, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNK),
    "an unknown coding": (501, POST + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNK),
    "chunks of HTTP/1.0": (501, b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNK),
    "chunks twice": (400, POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNK),
    "two hosts": (400, POST + b"Host: b\r\n\r\n"),
    "no host": (400, b"GET / HTTP/1.1\r\n\r\n"),
    "HTTP/0.9": (505, b"GET /\r\n\r\n"),
    "HTTP/2": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "HTTP/9.9": (400, b"GET / HTTP/9.9\r\nHost: a\r\n\r\n"),
    "a method nobody knows": (400, b"STEAL / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a tunnel": (400, b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a path that is none": (400, b"GET http://[::1 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a path beyond ASCII": (400, b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a size of chunks that is none": (400, CHUNKED + b"zz\r\nabcde\r\n0\r\n\r\n"),
    "a chunk without end": (400, CHUNKED + b"fffffffffffffffff\r\nabcde\r\n"),
    "a chunk longer than it says": (400, CHUNKED + b"3\r\nabcde\r\n0\r\n\r\n"),
    "a quote left open in a chunk": (400, CHUNKED + b'5;a="b\r\nabcde\r\n0\r\n\r\n'),
}


@pytest.mark.parametrize("name", TWO_READINGS)
async def test_what_two_servers_may_read_differently_is_refused_and_ends_the_connection(
    port: int, name: str
) -> None:
    status, request = TWO_READINGS[name]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
    said = await reader.read()
    writer.close()
    assert said.startswith(b"HTTP/1.1 %d " % status)
    assert b"connection: close" in said
    assert set(json.loads(said.split(b"\r\n\r\n", 1)[1])) == {"detail"}


async def test_trailers_never_become_headers(port: int) -> None:
    chunks = b"5\r\nabcde\r\n0\r\nX-API-Key: mine\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n"
    status, body = await exchange(port, CHUNKED + chunks)
    assert (status, body) == (200, {"size": 5, "headers": ["host", "transfer-encoding"]})


@pytest.mark.parametrize("endless", [b"0\r\nX-Trailer: ", b"5;extension="])
async def test_what_is_no_content_of_a_chunked_body_is_bounded(port: int, endless: bytes) -> None:
    pieces = (b"a" * 2**15 for _ in range(64))
    status, body = await exchange(port, CHUNKED + endless, *pieces)
    assert (status, set(body)) == (431, {"detail"})


async def test_small_chunks_are_no_fault(port: int) -> None:
    count = 2 * MOST_HEAD_BYTES
    status, body = await exchange(port, CHUNKED, b"1\r\nx\r\n" * count, b"0\r\n\r\n")
    assert (status, body["size"]) == (200, count)


async def test_more_headers_than_anybody_sends_are_refused(port: int) -> None:
    names = b"".join(b"X-%d: a\r\n" % number for number in range(MOST_HEADERS))
    status, body = await exchange(port, b"GET / HTTP/1.1\r\nHost: a\r\n" + names + b"\r\n")
    assert (status, set(body)) == (431, {"detail"})


@pytest.mark.parametrize("cut", [10, 70, 95, 110])
async def test_a_request_that_offers_an_upgrade_is_answered_as_any_other(port: int, cut: int) -> None:
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"
    request = POST + offer + b"Content-Length: 5\r\n\r\nabcde"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(2):
        writer.write(request[:cut])
        await asyncio.sleep(0.02)
        writer.write(request[cut:])
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        assert json.loads(await reader.readexactly(length))["size"] == 5
    writer.close()


async def test_http_1_0_needs_no_host(port: int) -> None:
    assert (await exchange(port, b"GET / HTTP/1.0\r\n\r\n"))[0] == 200
