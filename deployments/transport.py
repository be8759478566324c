"""How pictures cross from one process to the next: through shared memory, or inline where that cannot be.

A locker is anonymous memory (memfd) that the ingress lends to one request. Its stages put their arrays there
one behind the other and tell each other where; they reach it as /proc/PID/fd/N. A locker whose request went
well is lent again, because fresh pages are what costs: 4.8 ms to write a 1080p picture to new ones, 0.2 to
used ones. After anything else it is given up, since a stage may still be writing. The memory goes with the
last process that holds it, whatever killed it; no file is left. DECISIONS.md holds the measurements.
"""

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from models.errors import FaceError
from models.types import UInt8Array

INLINE_BYTES: Final = 32 * 1024
"""Smaller payloads ride in the message."""
KEPT_BYTES: Final = 256 * 2**20
"""Most that lockers may hold while nobody uses them."""
IDLE_S: Final = 5.0
"""How long an unused locker is kept: pictures of past requests shall not linger."""
ALIGNMENT: Final = 64  # bytes: a cache line


class OtherHostError(FaceError):
    """The locker is of another host, or cannot be reached from here; send inline."""


class RequestEndedError(FaceError):
    """The locker is gone, and the request with it: nobody waits for what this stage does."""


@dataclass(frozen=True, slots=True)
class Locker:
    """The shared memory of one request, as its stages find it."""

    host: str  # see host_id; empty: there is none
    pid: int = 0  # of the ingress
    fd: int = 0  # in the ingress
    inode: int = 0  # tells it from another file of the same number

    @property
    def is_here(self) -> bool:
        """Whether this process may be able to reach it."""
        return bool(self.host) and self.host == host_id()


INLINE: Final = Locker("")
"""No memory: every parcel rides in its message."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """An array on its way to another process: inline, or a place in the request's locker."""

    shape: tuple[int, ...]
    inline: bytes | None
    locker: Locker
    start: int  # in the locker, bytes
    end: int


@cache
def host_id() -> str:
    """Names what shares this process's /proc: containers of one machine may not. Empty without memfd."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{Path('/proc/self/ns/pid').readlink()}" if hasattr(os, "memfd_create") else ""
    except OSError:
        return ""


class Lockers:
    """Lends lockers; lives in the ingress replica."""

    def __init__(self) -> None:
        self._unused: deque[tuple[Locker, float, int]] = deque()  # since when, and its bytes; oldest first
        self._kept_bytes = 0
        self._is_tidying = False

    @contextlib.contextmanager
    def lend(self) -> Iterator[Locker]:
        """A locker for one request; INLINE where there is no shared memory.

        It is lent again only when the block ends without an exception: every stage has answered then.
        """
        locker = self._take()
        if locker is INLINE:
            yield locker
            return
        try:
            yield locker
        except BaseException:
            os.close(locker.fd)
            raise
        self._put_back(locker)

    def close(self) -> None:
        """Give up what nobody uses."""
        while self._unused:
            self._give_up_oldest()

    def _take(self) -> Locker:
        if self._unused:
            locker, _, size = self._unused.pop()
            self._kept_bytes -= size
            return locker
        if not host_id():
            return INLINE
        try:
            fd = os.memfd_create("face-api")
        except OSError:
            return INLINE
        return Locker(host_id(), os.getpid(), fd, os.fstat(fd).st_ino)

    def _put_back(self, locker: Locker) -> None:
        size = os.fstat(locker.fd).st_size
        self._unused.append((locker, time.monotonic(), size))
        self._kept_bytes += size
        while self._kept_bytes > KEPT_BYTES:
            self._give_up_oldest()
        if self._unused and not self._is_tidying:
            self._is_tidying = True
            asyncio.get_running_loop().call_later(IDLE_S, self._tidy)

    def _tidy(self) -> None:
        self._is_tidying = False
        while self._unused and (left_s := self._unused[0][1] + IDLE_S - time.monotonic()) <= 0:
            self._give_up_oldest()
        if self._unused:
            self._is_tidying = True
            asyncio.get_running_loop().call_later(left_s, self._tidy)

    def _give_up_oldest(self) -> None:
        locker, _, size = self._unused.popleft()
        self._kept_bytes -= size
        os.close(locker.fd)


def send(array: UInt8Array, locker: Locker, behind: Parcel | None = None) -> Parcel:
    """Make an array ready for another process.

    Args:
        array: Any shape.
        locker: Of the request.
        behind: The last parcel in the locker that somebody may still read.

    Returns:
        Inline for a small array, or when the locker cannot hold it or is of another host.

    Raises:
        RequestEndedError: The locker is gone.
    """
    start = -(-behind.end // ALIGNMENT) * ALIGNMENT if behind else 0
    if array.nbytes > INLINE_BYTES and locker.is_here:
        left = np.ascontiguousarray(array).data.cast("B")
        at = start
        try:
            with _opened(locker, os.O_WRONLY) as fd:
                while left:
                    written = os.pwrite(fd, left, at)
                    left, at = left[written:], at + written
            return Parcel(array.shape, None, locker, start, at)
        except OSError:
            pass  # no memory left, or out of reach
    return Parcel(array.shape, array.tobytes(), INLINE, start, start)


def receive(parcel: Parcel) -> UInt8Array:
    """Take a parcel: an array of the caller's own.

    Raises:
        OtherHostError: Its locker cannot be reached from here.
        RequestEndedError: Its locker is gone.
    """
    if parcel.inline is not None:
        return np.frombuffer(bytearray(parcel.inline), np.uint8).reshape(parcel.shape)
    if not parcel.locker.is_here:
        raise OtherHostError("the parcel lies on another host")
    array = np.empty(parcel.shape, np.uint8)
    left, at = array.data.cast("B"), parcel.start
    try:
        with _opened(parcel.locker, os.O_RDONLY) as fd:
            while left:
                count = os.preadv(fd, [left], at)
                if not count:
                    raise RequestEndedError("the parcel is incomplete")
                left, at = left[count:], at + count
    except OSError as error:
        raise OtherHostError(f"the locker cannot be reached ({error.strerror})") from error
    return array


@contextlib.contextmanager
def _opened(locker: Locker, flags: int) -> Iterator[int]:
    """The locker's memory; RequestEndedError when it is gone, OSError when it is out of reach."""
    try:
        fd = os.open(f"/proc/{locker.pid}/fd/{locker.fd}", flags)
    except FileNotFoundError as error:
        raise RequestEndedError("the request has ended") from error
    try:
        if os.fstat(fd).st_ino != locker.inode:
            raise RequestEndedError("the request has ended")
        yield fd
    finally:
        os.close(fd)
