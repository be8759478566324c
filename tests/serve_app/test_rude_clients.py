"""Clients that are slow, that leave half a request, or come in crowds: over real sockets, without waiting."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from serve_app.crowd import Crowd
from serve_app.doorway import Doorway
from serve_app.http_protocol import HEAD_S, LEAST_BYTES_PER_S, LINGER_S, SLOW_S, EnvelopeProtocol
from serve_app.http_server import HttpServer

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@dataclass
class App:
    """Reads the body, waits for its gate, and answers with what it saw."""

    answer_bytes: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    requests: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        self.requests.append(scope["path"])
        more = scope["path"] != "/unread"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.events.append("disconnect")
                return
            more = message["more_body"]
        await self.gate.wait()
        body = scope["path"].encode() + b"." * self.answer_bytes
        length = (b"content-length", b"%d" % len(body))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": body})


@dataclass
class Site:
    app: App
    server: HttpServer
    port: int

    @property
    def connections(self) -> list[EnvelopeProtocol]:
        return list(self.server._server.server_state.connections)

    async def connect(self, data: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        before = len(self.connections)
        streams = await asyncio.open_connection("127.0.0.1", self.port)
        streams[1].write(data)
        while len(self.connections) <= before:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)  # what was sent is read
        return streams

    def pass_time(self, seconds: float) -> None:
        for connection in self.connections:
            connection.pass_time(seconds)


@pytest.fixture
async def site(session: str) -> AsyncIterator[Site]:
    app = App()
    app.gate.set()
    doorway = await Doorway.open(session, "127.0.0.1", 0)
    server = await HttpServer(app, drain_s=2).start(doorway)
    assert server._watching is not None
    server._watching.cancel()  # the tests say when time passes
    yield Site(app, server, doorway.port)
    app.gate.set()
    await server.stop()


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return int(head.split()[1]), await reader.readexactly(length)


async def test_a_connection_without_a_word_is_closed(site: Site) -> None:
    reader, writer = await site.connect()
    site.pass_time(HEAD_S)
    assert len(site.connections) == 1
    site.pass_time(1)
    assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize("before", [b"", GET])
async def test_a_head_that_does_not_end_is_a_408(site: Site, before: bytes) -> None:
    reader, writer = await site.connect(before + b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ")
    if before:
        await read_answer(reader)
    for _ in range(int(HEAD_S)):
        site.pass_time(1)
        writer.write(b"a")
        await asyncio.sleep(0.01)
    site.pass_time(1)
    status, body = await read_answer(reader)
    assert (status, set(json.loads(body))) == (408, {"detail"})
    assert await reader.read() == b""
    assert len(site.app.requests) == bool(before)
    writer.close()


async def test_empty_lines_are_no_way_to_stay(site: Site) -> None:
    reader, writer = await site.connect(GET)
    await read_answer(reader)
    for _ in range(int(HEAD_S) + 1):
        writer.write(b"\r\n")
        await asyncio.sleep(0.01)
        site.pass_time(1)
    assert (await read_answer(reader))[0] == 408
    writer.close()


async def test_a_slow_body_is_a_408_and_its_request_ends(site: Site) -> None:
    reader, writer = await site.connect(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(int(SLOW_S) + 1):
        writer.write(b"x")
        await asyncio.sleep(0.01)
        site.pass_time(1)
    assert (await read_answer(reader))[0] == 408
    assert await reader.read() == b""
    assert site.app.events == ["disconnect"]
    writer.close()


async def test_a_body_that_makes_headway_may_take_its_time(site: Site) -> None:
    seconds = 3 * int(SLOW_S)
    length = seconds * LEAST_BYTES_PER_S
    head = b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length
    reader, writer = await site.connect(head)
    for _ in range(seconds):
        writer.write(b"x" * LEAST_BYTES_PER_S)
        await asyncio.sleep(0.01)
        site.pass_time(1)
    assert await read_answer(reader) == (200, b"/upload")
    writer.close()


async def test_a_body_that_we_do_not_read_is_not_its_clients_fault(site: Site) -> None:
    site.app.gate.clear()
    body = b"x" * 400_000
    head = b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
    reader, writer = await site.connect(head)
    writer.write(body)
    await asyncio.sleep(0.1)
    for _ in range(int(SLOW_S) + 2):
        site.pass_time(1)
    site.app.gate.set()
    assert await read_answer(reader) == (200, b"/unread")
    writer.close()


async def test_a_client_that_waits_to_be_told_to_send_is_not_slow(site: Site) -> None:
    site.app.gate.clear()
    reader, writer = await site.connect(
        b"POST /unread HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"
    )
    for _ in range(int(SLOW_S) + 2):
        site.pass_time(1)
    site.app.gate.set()
    assert await read_answer(reader) == (200, b"/unread")
    writer.close()


async def test_work_in_progress_has_all_the_time_it_needs(site: Site) -> None:
    site.app.gate.clear()
    reader, writer = await site.connect(GET)
    site.pass_time(10 * HEAD_S)
    site.app.gate.set()
    assert await read_answer(reader) == (200, b"/")
    writer.close()


async def test_a_client_that_goes_on_sending_after_its_answer_is_cut_off(site: Site) -> None:
    reader, writer = await site.connect(
        b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n"
    )
    assert await read_answer(reader) == (200, b"/unread")
    for _ in range(int(LINGER_S) + 1):
        writer.write(b"x" * 10_000)
        await asyncio.sleep(0.01)
        site.pass_time(1)
    await asyncio.sleep(0.05)
    assert site.connections == []
    writer.close()


@pytest.mark.parametrize("size", [50_000_000, 2_000_000])  # the kernel would take the smaller one whole
async def test_an_answer_that_is_not_taken_is_given_up(site: Site, size: int) -> None:
    site.app.answer_bytes = size
    reader, writer = await site.connect()
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader._transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(GET)
    await asyncio.sleep(0.1)
    site.pass_time(1)
    assert site.connections[0].untaken_bytes > size / 5
    for _ in range(int(SLOW_S)):
        site.pass_time(1)
    await asyncio.sleep(0.05)
    assert site.connections == []
    reader._transport.resume_reading()  # type: ignore[attr-defined]
    with pytest.raises(ConnectionResetError):  # and not minutes later
        await reader.read()
    writer.close()


async def test_a_body_in_drops_wakes_nobody_before_it_is_whole(site: Site) -> None:
    reader, writer = await site.connect(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n")
    cycle = site.connections[0].cycle
    for _ in range(20):
        writer.write(b"x")
        await asyncio.sleep(0.002)
    assert len(cycle.body) == 20
    writer.write(b"x" * 4980)
    assert await read_answer(reader) == (200, b"/")
    writer.close()


async def test_of_answers_that_take_too_much_memory_those_taken_longest_are_given_up(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.crowd.MOST_UNTAKEN_BYTES", 30_000_000)
    site.app.answer_bytes = 25_000_000
    streams = []
    for _ in range(2):
        streams.append(await site.connect(GET))
        streams[-1][0]._transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(0.1)
        site.pass_time(1)
    newest = max(site.connections, key=lambda connection: -connection.taking_s)
    site.server._crowd._free_answers()
    await asyncio.sleep(0.05)
    assert site.connections == [newest]
    for _, writer in streams:
        writer.close()


async def test_a_full_server_closes_who_has_waited_longest_and_nobody_who_is_served(site: Site) -> None:
    site.app.gate.clear()
    busy_reader, busy = await site.connect(GET)
    idle = [await site.connect() for _ in range(3)]
    site.connections[-1].pass_time(0)
    waits = {connection.client: connection for connection in site.connections}
    oldest_reader, oldest = idle[1]
    waits[oldest.get_extra_info("sockname")].pass_time(5)
    site.server._crowd = Crowd(site.server._server.server_state.connections, most=4)
    newest_reader, newest = await asyncio.open_connection("127.0.0.1", site.port)
    newest.write(GET)
    assert await oldest_reader.read() == b""
    site.app.gate.set()
    assert (await read_answer(newest_reader))[0] == 200
    assert (await read_answer(busy_reader))[0] == 200
    assert len(site.connections) == 4
    for writer in (busy, newest, *(writer for _, writer in idle)):
        writer.close()


async def test_a_server_that_is_full_of_work_says_so(site: Site) -> None:
    site.app.gate.clear()
    _, busy = await site.connect(GET)
    site.server._crowd = Crowd(site.server._server.server_state.connections, most=1)
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1" in head
    assert set(json.loads(await reader.read())) == {"detail"}
    for each in (busy, writer):
        each.close()


async def test_pipelined_requests_are_answered_in_their_order(site: Site) -> None:
    paths = [f"/{number}".encode() for number in range(20)]
    reader, writer = await site.connect(b"".join(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % p for p in paths))
    assert [await read_answer(reader) for _ in paths] == [(200, path) for path in paths]
    writer.close()


async def test_garbage_behind_a_request_does_not_overtake_its_answer(site: Site) -> None:
    site.app.gate.clear()
    reader, writer = await site.connect(GET + b"\x16\x03\x01 garbage\r\n\r\n")
    site.app.gate.set()
    assert await read_answer(reader) == (200, b"/")
    assert await reader.read() == b""
    assert site.app.requests == ["/"]
    writer.close()


async def test_a_broken_body_behind_a_request_is_refused_in_its_turn(site: Site) -> None:
    site.app.gate.clear()
    broken = b"POST /broken HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    reader, writer = await site.connect(GET + broken)
    site.app.gate.set()
    assert await read_answer(reader) == (200, b"/")
    assert (await read_answer(reader))[0] == 400
    assert await reader.read() == b""
    assert site.app.requests == ["/"]
    writer.close()


async def test_a_half_closed_connection_ends(site: Site) -> None:
    site.app.gate.clear()
    reader, writer = await site.connect(GET)
    writer.write_eof()
    assert await reader.read() == b""
    await asyncio.sleep(0.05)
    assert site.connections == []
    writer.close()
