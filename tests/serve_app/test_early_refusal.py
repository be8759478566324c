"""What a full service says to a picture, over real sockets: the protocol answers, no application."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from deployments.tally import TALLY
from serve_app.doorway import Doorway
from serve_app.early_refusal import STATE, EarlyRefusal
from serve_app.http_protocol import LINGER_S, EnvelopeProtocol
from serve_app.http_server import HttpServer
from serve_app.metrics import REQUESTS

ROUTE = "/api/v1/detect"
ID = "0b2c3d4e-5f60-4718-92a3-b4c5d6e7f809"
BODY = b"\xff\xd8" * 50_000


class Site:
    """A server whose admission is full, or not."""

    def __init__(self) -> None:
        self.admission: Any = SimpleNamespace(is_full=True)
        self.reached: list[str] = []
        self.server = HttpServer(self, drain_s=2)
        self.port = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            scope["state"][STATE] = EarlyRefusal(self.admission, [Route(ROUTE, print, methods=["POST"])])
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        while (await receive()).get("more_body"):
            pass
        self.reached.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    @property
    def connections(self) -> list[EnvelopeProtocol]:
        return list(self.server._server.server_state.connections)


@pytest.fixture
async def site(session: str) -> AsyncIterator[Site]:
    site = Site()
    doorway = await Doorway.open(session, "127.0.0.1", 0)
    site.port = doorway.port
    await site.server.start(doorway)
    assert site.server._watching is not None
    site.server._watching.cancel()
    yield site
    await site.server.stop()


def request(path: str = ROUTE, method: str = "POST", headers: str = "", version: str = "1.1") -> bytes:
    head = f"{method} {path} HTTP/{version}\r\nHost: a\r\nContent-Length: {len(BODY)}\r\n{headers}\r\n"
    return head.encode() + BODY


def refused() -> float:
    labels = (ROUTE, "503", "overloaded")
    return sum(s.values[0] for s in TALLY.read() if s.metric == REQUESTS.name and s.labels == labels)


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


async def test_a_picture_is_refused_by_its_head_and_the_connection_goes_on(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    before = refused()
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    with caplog.at_level(logging.INFO, logger="face_api.access"):
        for _ in range(3):
            writer.write(request(f"{ROUTE}?confidence=0.4", headers=f"X-Request-Id: {ID}\r\n"))
            status, headers, body = await read_answer(reader)
            assert status == 503
            assert json.loads(body) == {"detail": "the service is at its limit; try again shortly"}
            assert (headers["retry-after"], headers["x-request-id"]) == ("1", ID)
            assert {"date", "cache-control", "x-content-type-options"} <= set(headers)
            assert "connection" not in headers
    assert site.reached == []
    assert refused() == before + 3
    line = json.loads(caplog.records[0].getMessage())
    assert (line["path"], line["status"], line["reason"]) == (ROUTE, 503, "overloaded")
    assert line["request_id"] == ID
    site.admission.is_full = False
    writer.write(request())
    assert (await read_answer(reader))[0] == 200
    assert site.reached == [ROUTE]
    writer.close()


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ROUTE), ("POST", "/api/v1/batch"), ("POST", f"{ROUTE}/x")]
)
async def test_other_requests_reach_the_application(site: Site, method: str, path: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(request(path, method))
    assert (await read_answer(reader))[0] == 200
    assert site.reached == [path]
    writer.close()


@pytest.mark.parametrize(
    ("headers", "version"),
    [("Connection: close\r\n", "1.1"), ("", "1.0"), ("Expect: 100-continue\r\n", "1.1")],
)
async def test_a_connection_that_is_not_to_go_on_ends_behind_its_answer(
    site: Site, headers: str, version: str
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(request(headers=headers, version=version))
    status, answered, body = await read_answer(reader)
    assert (status, answered["connection"], set(json.loads(body))) == (503, "close", {"detail"})
    assert UUID(answered["x-request-id"])
    assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize("upgrade", ["", "Connection: upgrade\r\nUpgrade: h2c\r\n"])
async def test_what_comes_behind_the_end_of_a_connection_is_not_read(site: Site, upgrade: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(request(headers=f"Expect: 100-continue\r\n{upgrade}") + request("/next") + b"\x16\x03")
    assert (await read_answer(reader))[0] == 503
    assert await reader.read() == b""
    assert site.reached == []
    writer.close()


async def test_what_is_pipelined_is_refused_in_its_turn(site: Site) -> None:
    site.admission.is_full = False
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(request("/first") + request() + request("/last"))
    assert [(await read_answer(reader))[0] for _ in range(3)] == [200, 200, 200]
    site.admission.is_full = True
    writer.write(request() + request("/last") + request())
    assert [(await read_answer(reader))[0] for _ in range(3)][:2] == [503, 200]
    writer.close()


async def test_a_body_that_does_not_end_is_not_waited_for(site: Site) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(request()[:-1])
    assert (await read_answer(reader))[0] == 503
    await asyncio.sleep(0.05)
    for connection in site.connections:
        connection.pass_time(LINGER_S)
        assert not connection.transport.is_closing()
        connection.pass_time(1)
    assert await reader.read() == b""
    writer.close()


async def test_a_refused_connection_is_kept_for_the_next_request(site: Site) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(request())
    await read_answer(reader)
    await asyncio.sleep(0.05)
    for _ in range(30):
        for connection in site.connections:
            connection.pass_time(1)
    (connection,) = site.connections
    assert connection.is_idle
    assert connection.timeout_keep_alive_task is not None
    writer.write(request())
    assert (await read_answer(reader))[0] == 503
    writer.close()
