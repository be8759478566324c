"""The public port of one machine, shared by its ingress replicas and handed from the old ones to the new.

All replicas accept from one queue. With a queue for each (SO_REUSEPORT alone), the connections that wait in
a replica's queue are reset when it ends, and an update of the service would lose them. A replica that starts
asks those that run for the socket, over a Unix socket in the folder of `deployments.calls`. The launcher has
the socket too (`Doorstop`), so that the queue outlives a replica that was killed.

Connections are accepted one at a time: whichever replica is free takes the next. An event loop's own server
takes all that wait, so the first to wake would have them all. While more wait than are taken, a replica takes
twice as many each time: in a rush, turns of the event loop are too few.
"""

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Self

from deployments.calls import calls_folder

BACKLOG: Final = 2048
MOST_AT_ONCE: Final = 32
HANDOVER_TIMEOUT_S: Final = 5.0
"""How long a replica is asked for the socket: its event loop may be busy."""
KERNEL_BYTES: Final = 128 * 1024
"""Of an answer the kernel takes no more than it can send, and this. Otherwise it takes 4 MB: who asks for
pictures and does not read them would fill the kernel's memory, and nobody could see it."""
RELIEF_S: Final = 0.5
"""How long nothing is accepted after that failed for want of descriptors or memory: it would fail at once."""
WANT: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

logger = logging.getLogger("face_api.ingress")


class Doorway:
    """A replica's hold on the public port."""

    def __init__(self, listener: socket.socket, handing: socket.socket | None, path: Path | None) -> None:
        self._listener = listener
        self._handing = handing
        self._path = path
        self._accepted: Callable[[socket.socket], None] | None = None
        self._at_once = 1

    @classmethod
    async def open(cls, session: str, host: str, port: int) -> Self:
        """Take the port over from a replica of this machine, or bind it; nothing is accepted yet.

        Raises:
            OSError: The port is somebody else's.
        """
        return await asyncio.to_thread(cls._open, calls_folder(session), host, port)

    @classmethod
    def _open(cls, folder: Path, host: str, port: int) -> Self:
        name = _name(host, port)
        try:
            folder.mkdir(0o700, exist_ok=True)
        except OSError as error:
            logger.warning("the port cannot be handed over (%s): updates may lose requests", error.strerror)
            return cls(listen(host, port), None, None)
        with _locked(folder / f".{name}lock"):  # two that start at once must not both bind
            listener = _ask_for_socket(folder, name) or listen(host, port)
            handing, path = _handing(folder, name)
            handing.setblocking(False)
        return cls(listener, handing, path)

    @property
    def port(self) -> int:
        """The port, also when any was asked for."""
        port: int = self._listener.getsockname()[1]
        return port

    def start(self, accepted: Callable[[socket.socket], None]) -> None:
        """Give each new connection to `accepted`, and the port to each replica that asks."""
        loop = asyncio.get_running_loop()
        self._accepted = accepted
        loop.add_reader(self._listener, self._accept)
        if self._handing is not None:
            loop.add_reader(self._handing, self._hand_over)

    def close(self) -> None:
        """Take what waits, then leave the port to the other replicas. Twice is once."""
        if self._accepted is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._listener)
        if self._handing is not None and self._path is not None:
            self._hand_over()
            self._path.unlink(missing_ok=True)
            loop.remove_reader(self._handing)
            self._handing.close()
        for _ in range(BACKLOG):
            if not self._accept_one():
                break
        self._listener.close()
        self._accepted = None

    def _accept(self) -> None:
        for _ in range(self._at_once):
            if not self._accept_one():
                self._at_once = 1
                return
        self._at_once = min(2 * self._at_once, MOST_AT_ONCE)

    def _accept_one(self) -> bool:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:  # another replica was quicker, or the client left
            if error.errno in WANT:
                self._rest(error)
            return False
        connection.setblocking(False)
        if self._accepted is not None:
            self._accepted(connection)
        return True

    def _rest(self, error: OSError) -> None:
        loop = asyncio.get_running_loop()
        if loop.remove_reader(self._listener):
            logger.warning("no connection can be accepted for a moment: %s", error.strerror)
            loop.call_later(RELIEF_S, self._go_on)

    def _go_on(self) -> None:
        if self._accepted is not None:
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _hand_over(self) -> None:
        if self._handing is None:
            return
        with contextlib.suppress(OSError):
            _hand(self._handing, self._listener)


class Doorstop:
    """Keeps the public port open while no replica has it: who connects meanwhile waits for the next one.

    Without it, connections would be refused until a killed replica, the only one, is replaced. It accepts
    nothing itself.
    """

    def __init__(self, listener: socket.socket, handing: socket.socket, path: Path) -> None:
        self._listener = listener
        self._handing = handing
        self._path = path
        self._thread = threading.Thread(target=self._hand_over, name="doorstop", daemon=True)
        self._thread.start()

    @classmethod
    def put(cls, session: str, host: str, port: int) -> "Doorstop | None":
        """Take the socket from a replica that runs; None when none of this machine can be asked."""
        folder, name = calls_folder(session), _name(host, port)
        listener = _ask_for_socket(folder, name)
        if listener is None:
            return None
        return cls(listener, *_handing(folder, name))

    def close(self) -> None:
        """Leave the port to the replicas."""
        self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._handing.shutdown(socket.SHUT_RDWR)  # ends the thread's accept
        self._thread.join()
        self._handing.close()
        self._listener.close()

    def _hand_over(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                _hand(self._handing, self._listener)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; a replica of this user that cannot be asked for its own does not hinder."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # connections inherit it
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, KERNEL_BYTES)
    sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock


def _name(host: str, port: int) -> str:
    """How the names of the Unix sockets begin that hand over a port."""
    return f"Doorway-{host}-{port}."


def _handing(folder: Path, name: str) -> tuple[socket.socket, Path]:
    """A Unix socket at which replicas ask for the port, and its place."""
    path = folder / f"{name}{uuid.uuid4().hex[:12]}"
    handing = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    handing.bind(str(path))
    handing.listen(BACKLOG)
    return handing, path


def _hand(handing: socket.socket, listener: socket.socket) -> None:
    """Give the listening socket to the next that asks."""
    asker, _ = handing.accept()
    with asker, contextlib.suppress(OSError):  # it may have left
        socket.send_fds(asker, [b"\0"], [listener.fileno()])


def _ask_for_socket(folder: Path, name: str) -> socket.socket | None:
    """The listening socket of a replica that runs, None when there is none."""
    for path in folder.glob(f"{name}*"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.settimeout(HANDOVER_TIMEOUT_S)
            try:
                asking.connect(str(path))
                _, descriptors, _, _ = socket.recv_fds(asking, 1, 1)
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)  # its replica was killed
                continue
            except OSError:
                continue
        if descriptors:
            listener = socket.socket(fileno=descriptors[0])
            listener.setblocking(False)
            return listener
    return None


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
