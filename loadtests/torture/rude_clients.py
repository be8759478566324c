"""Clients that are slow, rude or many: what one of them does with a connection, over and over."""

import asyncio
import contextlib
import itertools
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from loadtests.torture.malformed import Malformed, head, malformed

HELD: Final = "held"
"""The server did not end the connection in time."""
CLOSED: Final = "closed"
BOUND_S: Final = 20.0
"""Every connection that does nothing useful has ended by then."""
DRIP_S: Final = 1.0
UNREAD_S: Final = 14.0
PIPELINED: Final = 100
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Target:
    """Whom they are rude to."""

    url: str
    key: str
    picture: bytes


@dataclass(frozen=True, slots=True)
class Rudeness:
    """One kind."""

    name: str
    clients: int  # at once
    act: Callable[[Target, Streams], Awaitable[str]]  # until the connection has ended; what came of it
    expected: frozenset[str]


@dataclass
class Crowd:
    """Clients of one kind, and what came of their connections."""

    target: Target
    rudeness: Rudeness
    ended: Counter[str] = field(default_factory=Counter)
    open: int = 0

    async def run(self) -> None:
        """Until it is cancelled; a connection that has ended is followed by the next."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(self.rudeness.clients):
                tasks.create_task(self._client())
                if number % 100 == 99:
                    await asyncio.sleep(0.1)  # not a flood: the queue of connections is no part of this

    async def _client(self) -> None:
        while True:
            try:
                self.ended[await self._once()] += 1
            except OSError:
                self.ended[CLOSED] += 1
                await asyncio.sleep(DRIP_S)

    async def _once(self) -> str:
        address = urlsplit(self.target.url)
        streams = await asyncio.open_connection(address.hostname, address.port)
        self.open += 1
        try:
            async with asyncio.timeout(BOUND_S):
                return await self.rudeness.act(self.target, streams)
        except TimeoutError:
            return HELD
        finally:
            self.open -= 1
            streams[1].transport.abort()


def status_of(answer: bytes) -> str:
    """Of the first answer in what was read; CLOSED when there is none."""
    return answer.split(b" ", 2)[1].decode() if answer.startswith(b"HTTP/1.1 ") else CLOSED


async def read_all(reader: asyncio.StreamReader) -> str:
    """Wait for the connection's end; the status of the first answer."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        while more := await reader.read(2**16):
            answer = answer or more
    return status_of(answer)


async def drip(streams: Streams, first: bytes) -> str:
    """Send a beginning, then one byte a second."""
    reader, writer = streams
    writer.write(first)
    answer = asyncio.create_task(read_all(reader))
    while not answer.done():
        await asyncio.wait({answer}, timeout=DRIP_S)
        writer.write(b"a")
    return answer.result()


async def slow_head(target: Target, streams: Streams) -> str:
    """Slowloris."""
    return await drip(streams, head(target.key, b"X-Slow: ")[:-4])


async def slow_body(target: Target, streams: Streams) -> str:
    """A picture of which a byte comes each second."""
    lines = b"Content-Type: image/jpeg", b"Content-Length: 100000"
    return await drip(streams, head(target.key, *lines))


async def idle(_target: Target, streams: Streams) -> str:
    """Says nothing."""
    return await read_all(streams[0])


async def half_closed(target: Target, streams: Streams) -> str:
    """Half a body, and no more will come."""
    reader, writer = streams
    lines = b"Content-Type: image/jpeg", b"Content-Length: %d" % (2 * len(target.picture))
    writer.write(head(target.key, *lines) + target.picture)
    writer.write_eof()
    said = await read_all(reader)
    await asyncio.sleep(DRIP_S)
    return said


async def unread(target: Target, streams: Streams) -> str:
    """Asks for a large answer and does not take it; CLOSED when the rest of it has been given up."""
    reader, writer = streams
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line = b"POST /api/v1/mask?format=png&store=none HTTP/1.1"
    lines = b"Content-Type: image/jpeg", b"Content-Length: %d" % len(target.picture)
    writer.write(head(target.key, *lines, line=line) + target.picture)
    answer = await reader.readuntil(b"\r\n\r\n")
    length = int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    writer.transport.pause_reading()  # type: ignore[attr-defined] # it is a socket's
    await asyncio.sleep(UNREAD_S)
    writer.transport.resume_reading()  # type: ignore[attr-defined]
    try:
        await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return CLOSED
    return status_of(answer)


async def pipelined(_target: Target, streams: Streams) -> str:
    """A hundred requests at once, answers read afterwards."""
    reader, writer = streams
    writer.write(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n" * PIPELINED)
    statuses = set()
    for _ in range(PIPELINED):
        answer = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        statuses.add(status_of(answer))
    await asyncio.sleep(DRIP_S)
    return ", ".join(sorted(statuses))


async def send(target: Malformed, streams: Streams) -> str:
    """What is no request; the status of its answer."""
    reader, writer = streams
    writer.write(target.data)
    try:
        return status_of(await reader.read(2**16))
    except ConnectionError:
        return CLOSED


def nonsense(target: Target) -> Rudeness:
    """Everything that is malformed, in turn; the outcome names what was answered with another status."""
    kinds: Iterator[Malformed] = itertools.cycle(malformed(target.key, target.picture))

    async def act(_target: Target, streams: Streams) -> str:
        kind = next(kinds)
        status = await send(kind, streams)
        await asyncio.sleep(DRIP_S)
        return "refused" if status in map(str, kind.statuses) else f"{kind.name}: {status}"

    return Rudeness("nonsense", 30, act, frozenset({"refused"}))


def kinds_of(target: Target) -> list[Rudeness]:
    """All of them; numbers are above `FACE_API_MAX_IN_FLIGHT` where a place could be held."""
    slow = frozenset({"408"})
    return [
        Rudeness("slow heads", 1000, slow_head, slow),
        Rudeness("slow bodies", 400, slow_body, slow),
        Rudeness("idle connections", 10_000, idle, frozenset({CLOSED})),
        Rudeness("half-closed connections", 200, half_closed, frozenset({CLOSED})),
        Rudeness("answers that are not taken", 8, unread, frozenset({CLOSED})),
        Rudeness("pipelining", 10, pipelined, frozenset({"200"})),
        nonsense(target),
    ]
