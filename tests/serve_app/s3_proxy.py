"""A TCP proxy in front of the S3 server that misbehaves as told: the network and the faults of real life."""

import asyncio
import contextlib
import random
from typing import Literal

Mode = Literal["pass", "down", "slow", "errors"]
ERROR = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class FaultyProxy:
    """Every connection is judged by the mode of the moment it is made in."""

    def __init__(self, upstream_port: int) -> None:
        self.mode: Mode = "pass"
        self.delay_s = 1.5
        self._upstream_port = upstream_port
        self._random = random.Random(1)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        self.cut()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        for task in self._serving:  # Python 3.11 does not wait for them
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)
            await asyncio.sleep(0.01)  # connections close a turn of the loop later

    def cut(self) -> None:
        """Cut every connection that is open."""
        for writer in list(self._connections):
            writer.transport.abort()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            if self.mode == "down":
                return
            if self.mode == "errors" and self._random.random() < 0.5:
                await self._refuse(reader, writer)
                return
            if self.mode == "slow":
                await asyncio.sleep(self.delay_s)
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream_port)
            try:
                await asyncio.gather(_copy(reader, up_writer), _copy(up_reader, writer))
            finally:
                up_writer.transport.abort()
        except OSError:
            pass
        finally:
            self._connections.discard(writer)
            writer.transport.abort() if self.mode == "down" else writer.close()

    async def _refuse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        await reader.readexactly(length)
        writer.write(ERROR)
        await writer.drain()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
