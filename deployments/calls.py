"""Calls between processes of one host, past Ray Serve's handles: a Unix socket for each replica.

Ray Serve starts, watches, scales and replaces the replicas. What it costs to hand them a request is another
matter: DECISIONS.md has the figures. So each replica also listens on a socket in a folder that belongs to
the service, and callers find their callees by looking there. Whoever may open the socket may run code in
the replica (messages are pickled), so the folder is this user's only.

A message is its length and a pickled tuple. From the caller: (id, method, arguments, trace), its trace None
while tracing is off; (id, None, (), None) when nobody waits any more; (GOODBYE, None, (), None) once it heard
one. From the callee: (HELLO, None) when it takes calls, (id, value), and (GOODBYE, None) before it stops.
"""

import asyncio
import contextlib
import itertools
import logging
import math
import os
import shutil
import socket
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from deployments import tracing
from deployments.messages import Messages
from models.errors import FaceError, InferenceError

SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - the folder in it is this user's only
FOLDER_PREFIX: Final = "face-api."
GOODBYE: Final = -1
HELLO: Final = -2
LOOK_AGAIN_S: Final = 0.25
"""How soon a caller sees a new replica."""
NEXT_REPLICA_S: Final = 20.0
"""How long a caller that had a replica waits for the next one before it asks Ray for another host's."""
CONNECT_TIMEOUT_S: Final = 1.0
GOODBYE_TIMEOUT_S: Final = 2.0
"""How long a replica that stops waits for its callers to have heard."""
PROBE_TIMEOUT_S: Final = 0.2
STARTING_S: Final = 60.0
"""A folder may be without a socket for so long before it counts as left by a service that was killed."""

Method = Callable[..., Awaitable[object]]
NO_SPAN: Final = contextlib.nullcontext()
logger = logging.getLogger("face_api.calls")


class CalleeLostError(FaceError):
    """The replica ended before it answered."""


def calls_folder(session: str) -> Path:
    """Where the sockets of one service lie."""
    return SHARED_MEMORY / f"{FOLDER_PREFIX}{session}"


def remove_calls_folder(session: str) -> None:
    """When the service has ended."""
    shutil.rmtree(calls_folder(session), ignore_errors=True)


class Callee:
    """One replica's socket."""

    def __init__(self, session: str, stage: str, methods: Mapping[str, Method]) -> None:
        """Prepare; `start` listens.

        Args:
            session: Of the service.
            stage: Name of the deployment, by which callers look for it.
            methods: What may be called; each returns errors as values.
        """
        self._folder = calls_folder(session)
        self._path = self._folder / f"{stage}.{uuid.uuid4().hex[:12]}"
        self.stage = stage
        self.methods = methods
        self.connections: set[_CalleeProtocol] = set()
        self.is_stopping = False
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen, unless this host has no shared memory: callers use Ray's handles then."""
        _remove_abandoned(self._folder)
        try:
            self._folder.mkdir(0o700, exist_ok=True)
            unnamed = self._path.with_name(f".{self._path.name}")
            loop = asyncio.get_running_loop()
            self._server = await loop.create_unix_server(lambda: _CalleeProtocol(self), str(unnamed))
            unnamed.rename(self._path)  # only now can it be found: it listens
        except OSError as error:
            logger.warning("no socket for calls on this host (%s): calls go through Ray", error.strerror)

    async def stop(self) -> None:
        """Tell the callers, answer what was asked, and close.

        What a caller sent before it heard is answered too: it says when it has.
        """
        self._path.unlink(missing_ok=True)
        if self._server is None:
            return
        self.is_stopping = True
        self._server.close()
        connections = list(self.connections)
        for connection in connections:
            connection.say_goodbye()
        if connections:
            await asyncio.wait([one.farewell for one in connections], timeout=GOODBYE_TIMEOUT_S)
        tasks = [task for connection in connections for task in connection.tasks.values()]
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in connections:
            connection.close()


class Caller:
    """Calls the replicas of one stage on this host, each time the one with the fewest calls waiting."""

    def __init__(self, session: str, stage: str) -> None:
        self._folder = calls_folder(session)
        self._stage = f"{stage}."
        self._links: dict[str, _CallerProtocol] = {}
        self._looked_s = -LOOK_AGAIN_S
        self._had_callee_s = -math.inf
        self._looking: asyncio.Lock = asyncio.Lock()
        self._last_look: asyncio.Task[None] | None = None

    @property
    def callees(self) -> int:
        """How many were found when last looked for."""
        return len(self._links)

    async def has_callee(self) -> bool:
        """Whether a replica on this host can be called now."""
        if time.monotonic() - self._looked_s >= LOOK_AGAIN_S:
            looking = asyncio.create_task(self._look())
            if not self._links:
                await looking
            self._last_look = looking  # whoever has a replica need not wait for another one
        return bool(self._links)

    async def finds_callee(self) -> bool:
        """As `has_callee`; where there was a replica a moment ago, the next one is waited for.

        Ray's handles would send the call to the one that was killed, until Ray Serve has seen that.
        """
        while not await self.has_callee():
            if time.monotonic() - self._had_callee_s > NEXT_REPLICA_S:
                return False
            await asyncio.sleep(LOOK_AGAIN_S)
        self._had_callee_s = time.monotonic()
        return True

    async def call(self, method: str, *arguments: object) -> Any:  # noqa: ANN401 - the method's own
        """The method's answer; cancelling it cancels the work. Ask `finds_callee` first.

        Raises:
            CalleeLostError: The replica ended meanwhile, or there is none.
        """
        if not self._links:
            raise CalleeLostError("no replica listens on this host")
        link = min(self._links.values(), key=_CallerProtocol.waiting)
        return await link.call(method, arguments)

    def close(self) -> None:
        """Close every connection."""
        for link in list(self._links.values()):
            link.close()

    async def _look(self) -> None:
        async with self._looking:
            if time.monotonic() - self._looked_s < LOOK_AGAIN_S:
                return
            self._looked_s = time.monotonic()
            try:
                names = {
                    entry.name for entry in os.scandir(self._folder) if entry.name.startswith(self._stage)
                }
            except OSError:
                return
            for name in names - self._links.keys():
                await self._connect(name)

    async def _connect(self, name: str) -> None:
        path = self._folder / name
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                transport, link = await loop.create_unix_connection(
                    lambda: _CallerProtocol(lambda: self._links.pop(name, None)), str(path)
                )
                try:
                    await link.welcome  # one that stops accepts no more, and says nothing
                except BaseException:
                    transport.close()
                    raise
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)  # its replica was killed
        except CalleeLostError:
            return  # it stops
        except OSError as error:
            logger.warning("a replica cannot be called: %s", type(error).__name__)
        else:
            self._links[name] = link


class _CalleeProtocol(Messages):
    """A caller's connection, in the replica."""

    def __init__(self, callee: Callee) -> None:
        super().__init__()
        self._callee = callee
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.farewell: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._callee.is_stopping:
            self.close()
            return
        self._callee.connections.add(self)
        self.send((HELLO, None))

    def connection_lost(self, exc: Exception | None) -> None:
        self._callee.connections.discard(self)
        _settle(self.farewell)
        for task in self.tasks.values():
            task.cancel()  # whoever asked is gone

    def received(self, message: tuple[Any, ...]) -> None:
        call_id, method, arguments, trace = message
        if method is not None:
            self.tasks[call_id] = asyncio.create_task(self._answer(call_id, method, arguments, trace))
        elif call_id == GOODBYE:
            _settle(self.farewell)
        elif call_id in self.tasks:
            self.tasks[call_id].cancel()

    def say_goodbye(self) -> None:
        """Ask for no more calls; what arrives meanwhile is answered."""
        self.send((GOODBYE, None))

    async def _answer(self, call_id: int, method: str, arguments: tuple[Any, ...], trace: str | None) -> None:
        try:
            with tracing.span(f"{self._callee.stage}.{method}", trace) if trace else NO_SPAN:
                value = await self._callee.methods[method](*arguments)
        except Exception as error:
            logger.exception("a call failed")
            value = InferenceError(f"{type(error).__name__} in a stage of the pipeline")
        finally:
            del self.tasks[call_id]
        self.send((call_id, value))


class _CallerProtocol(Messages):
    """The connection to one replica."""

    def __init__(self, on_end: Callable[[], object]) -> None:
        super().__init__()
        self._on_end = on_end  # no call shall come here any more
        self.welcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ids = itertools.count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_end()
        for future in (self.welcome, *self._waiting.values()):
            if not future.done():
                future.set_exception(CalleeLostError("the replica ended before it answered"))
                future.exception()  # whoever was cancelled meanwhile asks no more: that is nothing to log
        self._waiting.clear()

    def received(self, message: tuple[Any, ...]) -> None:
        call_id, value = message
        if call_id == GOODBYE:
            self._on_end()
            self.send((GOODBYE, None, (), None))
            return
        if call_id == HELLO:
            _settle(self.welcome)
            return
        future = self._waiting.pop(call_id, None)
        if future is not None and not future.done():
            future.set_result(value)

    def waiting(self) -> int:
        """How many calls it has not answered."""
        return len(self._waiting)

    async def call(self, method: str, arguments: tuple[object, ...]) -> Any:  # noqa: ANN401 - the method's own
        """Send a call and wait for its answer."""
        call_id = next(self._ids)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if not self.send((call_id, method, arguments, tracing.current())):
            raise CalleeLostError("the replica is gone")
        self._waiting[call_id] = future
        try:
            return await future
        except asyncio.CancelledError:
            self._waiting.pop(call_id, None)
            self.send((call_id, None, (), None))
            raise


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _remove_abandoned(own: Path) -> None:
    """Remove the folders of services that were killed."""
    for folder in SHARED_MEMORY.glob(f"{FOLDER_PREFIX}*"):
        if folder == own:
            continue
        with contextlib.suppress(OSError):
            sockets = [path for path in folder.iterdir() if not path.name.startswith(".")]
            is_starting = not sockets and folder.stat().st_mtime > time.time() - STARTING_S
            if not is_starting and not any(map(_listens, sockets)):
                shutil.rmtree(folder, ignore_errors=True)


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(PROBE_TIMEOUT_S)
        return probe.connect_ex(str(path)) == 0
