"""uvicorn in the event loop of an ingress replica; it ends without losing a request."""

import asyncio
import contextlib
import logging
import socket
import time
from typing import Final, Self

import uvicorn
from starlette.types import ASGIApp

from serve_app.crowd import TOO_MANY, Crowd, most_connections
from serve_app.doorway import Doorway
from serve_app.http_protocol import EnvelopeProtocol

IDLE_S: Final = 1.0
"""A connection that sends nothing for so long is closed when the server ends; a busy client sends sooner."""
DRAIN_POLL_S: Final = 0.05
KEEP_ALIVE_S: Final = 75
"""Longer than clients and proxies keep an idle connection (60 s and less), so that they close it first: what
they sent as it was closed would be lost."""

logger = logging.getLogger("face_api.ingress")


class HttpServer:
    """One application on one port."""

    def __init__(self, app: ASGIApp, drain_s: float) -> None:
        """Prepare; `start` listens.

        Args:
            app: What answers.
            drain_s: How long accepted requests have at the end.
        """
        self._drain_s = drain_s
        self._server = uvicorn.Server(_config(app, drain_s))
        self._crowd = Crowd(self._server.server_state.connections, most_connections())
        self._watching: asyncio.Task[None] | None = None
        self._serving: asyncio.Task[None] | None = None
        self._doorway: Doorway | None = None
        self._opening: set[asyncio.Task[None]] = set()

    async def start(self, doorway: Doorway) -> Self:
        """Answer what comes through the doorway.

        Raises:
            RuntimeError: The application did not start.
        """
        self._serving = asyncio.create_task(self._server._serve([]))  # uvicorn's sockets: none, the doorway's
        while not self._server.started:
            if self._serving.done():
                self._serving.result()
                raise RuntimeError("the HTTP server stopped while starting")
            await asyncio.sleep(0.01)
        self._watching = asyncio.create_task(self._crowd.watch())
        self._doorway = doorway
        doorway.start(self._open)
        return self

    @property
    def has_ended(self) -> bool:
        """Whether it ended by itself."""
        return self._serving is not None and self._serving.done()

    async def stop(self) -> None:
        """Leave the port, answer everything that was accepted, and end.

        Each connection is closed with its next answer, which says so; one that is idle for a while is closed.
        """
        if self._doorway is not None:
            self._doorway.close()
        await self._drain()
        if self._watching is not None:
            self._watching.cancel()
        self._server.should_exit = True
        if self._serving is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._serving

    def _open(self, connection: socket.socket) -> None:
        if not self._crowd.lets_in():
            TOO_MANY.count()
            with connection, contextlib.suppress(OSError):
                connection.send(TOO_MANY.as_bytes())
            return
        task = asyncio.create_task(self._connect(connection))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _connect(self, connection: socket.socket) -> None:
        server = self._server

        def protocol() -> EnvelopeProtocol:
            return EnvelopeProtocol(server.config, server.server_state, server.lifespan.state)

        try:
            await asyncio.get_running_loop().connect_accepted_socket(protocol, connection)
        except OSError as error:  # the client left
            connection.close()
            logger.debug("a connection ended as it began: %s", type(error).__name__)

    async def _drain(self) -> None:
        if self._opening:
            await asyncio.wait(self._opening)
        idle_since: dict[EnvelopeProtocol, float] = {}
        deadline = time.monotonic() + self._drain_s
        while self._server.server_state.connections and time.monotonic() < deadline:
            now = time.monotonic()
            for connection in list(self._server.server_state.connections):
                if not isinstance(connection, EnvelopeProtocol):
                    continue
                connection.close_with_next_answer()
                if not connection.is_idle:
                    idle_since.pop(connection, None)
                elif now - idle_since.setdefault(connection, now) >= IDLE_S:
                    connection.transport.close()
            await asyncio.sleep(DRAIN_POLL_S)


def _config(app: ASGIApp, drain_s: float) -> uvicorn.Config:
    """How uvicorn runs: no banner, no access log of its own, no trust in forwarded headers."""
    return uvicorn.Config(
        app,
        http=EnvelopeProtocol,
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(drain_s),
    )
