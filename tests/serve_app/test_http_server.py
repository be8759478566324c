"""How servers on one port take over from each other: over real sockets, in one event loop."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from deployments.calls import calls_folder
from serve_app.doorway import Doorstop, Doorway
from serve_app.http_server import HttpServer

Send = Callable[[dict[str, Any]], Awaitable[None]]
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Named:
    """Answers with its name, when its gate is open."""

    def __init__(self, name: str) -> None:
        self.name = name.encode()
        self.began = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, scope: dict[str, Any], _receive: object, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        self.began += 1
        await self.gate.wait()
        length = (b"content-length", b"%d" % len(self.name))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": self.name})


async def serve(app: Named, session: str, port: int = 0) -> tuple[HttpServer, int]:
    doorway = await Doorway.open(session, "127.0.0.1", port)
    return await HttpServer(app, drain_s=5).start(doorway), doorway.port


async def read_answer(reader: asyncio.StreamReader) -> tuple[str, bool]:
    """The server's name, and whether it closes the connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    assert head.startswith(b"http/1.1 200")
    length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
    return (await reader.readexactly(length)).decode(), b"connection: close" in head


async def ask(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    name, _ = await read_answer(reader)
    writer.close()
    return name


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_no_connection_is_lost_while_servers_follow_one_another(session: str) -> None:
    port = free_port()
    server, _ = await serve(Named("0"), session, port)
    answers: list[str] = []
    ended = asyncio.Event()

    async def client() -> None:
        while not ended.is_set():
            answers.append(await ask(port))

    clients = [asyncio.create_task(client()) for _ in range(8)]
    for number in range(1, 6):
        successor, _ = await serve(Named(str(number)), session, port)
        await server.stop()
        server = successor
        await asyncio.sleep(0.05)
    ended.set()
    await asyncio.gather(*clients)
    await server.stop()
    assert set(answers) == {"0", "1", "2", "3", "4", "5"}


async def test_what_waits_in_the_queue_is_answered_by_another_server(session: str) -> None:
    port = free_port()
    first = await Doorway.open(session, "127.0.0.1", port)
    first.start(lambda _: None)
    first._accepted = None  # it is too busy to accept
    asyncio.get_running_loop().remove_reader(first._listener)
    waiting = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
    second, _ = await serve(Named("second"), session, port)
    for reader, writer in waiting:
        writer.write(REQUEST)
        assert (await read_answer(reader))[0] == "second"
        writer.close()
    first.start(lambda _: None)
    first.close()
    await second.stop()


async def test_a_server_that_stops_answers_what_it_accepted_and_says_that_it_closes(session: str) -> None:
    app = Named("it")
    server, port = await serve(app, session)
    busy = await asyncio.open_connection("127.0.0.1", port)
    later = await asyncio.open_connection("127.0.0.1", port)
    app.gate.clear()
    busy[1].write(REQUEST)
    while not app.began:
        await asyncio.sleep(0.01)
    stopping = asyncio.create_task(server.stop())
    await asyncio.sleep(0.1)
    later[1].write(REQUEST)  # it did not know
    await asyncio.sleep(0.1)
    assert not stopping.done()
    app.gate.set()
    assert await read_answer(busy[0]) == ("it", True)
    assert await read_answer(later[0]) == ("it", True)
    await stopping
    with pytest.raises(OSError):
        await ask(port)
    for _, writer in (busy, later):
        writer.close()


async def test_an_idle_connection_does_not_hold_a_server_up(session: str) -> None:
    server, port = await serve(Named("it"), session)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(4):
        await server.stop()
    assert await reader.read() == b""
    writer.close()


async def test_the_socket_of_a_killed_replica_is_forgotten(session: str) -> None:
    port = free_port()
    folder = calls_folder(session)
    folder.mkdir(0o700)
    left = folder / f"Doorway-127.0.0.1-{port}.left"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(left))
    server, _ = await serve(Named("it"), session, port)
    assert not left.exists()
    assert await ask(port) == "it"
    await server.stop()


async def test_who_comes_while_the_only_replica_is_dead_waits_for_the_next_one(session: str) -> None:
    port = free_port()
    first, _ = await serve(Named("first"), session, port)
    doorstop = await asyncio.to_thread(Doorstop.put, session, "127.0.0.1", port)
    assert doorstop is not None
    await first.stop()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    second, _ = await serve(Named("second"), session, port)
    assert (await read_answer(reader))[0] == "second"
    writer.close()
    doorstop.close()
    assert await ask(port) == "second"
    await second.stop()
    with pytest.raises(OSError):
        await ask(port)
    assert not list(calls_folder(session).glob("Doorway*"))


def test_without_a_replica_there_is_no_port_to_keep_open(session: str) -> None:
    assert Doorstop.put(session, "127.0.0.1", free_port()) is None


async def test_somebody_elses_port_is_an_error(session: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(OSError, match="in use"):
            await Doorway.open(session, "127.0.0.1", other.getsockname()[1])
