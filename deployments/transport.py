"""How pictures cross from one process to the next: through shared memory, or inline where that cannot be.

A parcel is one file in /dev/shm. Its reader unlinks it on opening, so it lives as long as someone maps
it. The parcels of one request lie in one folder, its locker, which goes when the request ends, whatever
became of the stages; a sweep by age removes what a killed process left. DECISIONS.md holds the
measurements behind it.
"""

import contextlib
import errno
import mmap
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from models.errors import FaceError
from models.types import UInt8Array

SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - the kernel's shared memory, mode 0600 files
PREFIX: Final = "face-api-"
INLINE_BYTES: Final = 32 * 1024
"""Smaller payloads ride in the message: a file costs more than it saves."""


class OtherHostError(FaceError):
    """The parcel lies in the shared memory of another host; it must be sent again, inline."""


class RequestEndedError(FaceError):
    """The locker is gone, and the request with it: nobody waits for what this stage does."""


@dataclass(frozen=True, slots=True)
class Locker:
    """Where the parcels of one request lie: a folder in the shared memory of the host that opened it."""

    name: str
    host: str


INLINE: Final = Locker("", "")
"""No folder: every parcel rides in its message."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """An array on its way to another process: inline, or the name of a file in shared memory."""

    shape: tuple[int, ...]
    inline: bytes | None
    name: str
    host: str


@cache
def host_id() -> str:
    """Names this host's /dev/shm: containers of one machine may each have their own. Empty without one."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{SHARED_MEMORY.stat().st_dev}"
    except OSError:
        return ""


class Outbox:
    """Opens lockers, sends arrays through them, and clears away what killed processes left."""

    def __init__(self, session: str, max_age_s: float) -> None:
        """Start an outbox.

        Args:
            session: Part of every locker's name, so that a service clears its own when it stops.
            max_age_s: Lockers older than this belong to requests long dead; must exceed every deadline.
        """
        self._session = session
        self._max_age_s = max_age_s
        self._next_sweep = 0.0

    @contextlib.contextmanager
    def open(self) -> Iterator[Locker]:
        """A locker for one request; INLINE where shared memory is missing or full.

        It goes at the end, with all that lies in it; a stage that is still at work finds no place for its
        result then.
        """
        locker = Locker(f"{PREFIX}{self._session}-{uuid.uuid4().hex}", host_id())
        folder = SHARED_MEMORY / locker.name
        try:
            folder.mkdir(0o700)
        except OSError:
            locker = INLINE
        try:
            yield locker
        finally:
            _remove(folder)

    def send(self, array: UInt8Array, locker: Locker) -> Parcel:
        """Make an array ready for another process; C-contiguous arrays are not copied twice.

        Falls back to inline where shared memory is full or of another host.

        Raises:
            RequestEndedError: The locker is gone.
        """
        self._sweep_if_due()
        if array.nbytes > INLINE_BYTES and locker.host and locker.host == host_id():
            name = f"{locker.name}/{uuid.uuid4().hex}"
            if _write(SHARED_MEMORY / name, array):
                return Parcel(array.shape, None, name, locker.host)
        return Parcel(array.shape, array.tobytes(), "", "")

    def _sweep_if_due(self) -> None:
        now = time.monotonic()
        if now >= self._next_sweep:
            self._next_sweep = now + self._max_age_s / 4
            sweep(self._max_age_s)


def receive(parcel: Parcel) -> UInt8Array:
    """Take a parcel: an array the caller owns and may write to, without a copy of untouched pages.

    Raises:
        OtherHostError: It was left on another host.
        RequestEndedError: It was removed with its locker, or taken before.
    """
    if parcel.inline is not None:
        return np.frombuffer(bytearray(parcel.inline), np.uint8).reshape(parcel.shape)
    if parcel.host != host_id():
        raise OtherHostError("the parcel lies on another host")
    path = SHARED_MEMORY / parcel.name
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError as error:
        raise RequestEndedError("the parcel is gone") from error
    try:
        path.unlink(missing_ok=True)  # the request may end just now
        size = int(np.prod(parcel.shape))
        if os.fstat(fd).st_size != size:
            raise OSError(errno.EIO, "parcel is incomplete")
        flags = mmap.MAP_PRIVATE | mmap.MAP_POPULATE
        mapped = mmap.mmap(fd, size, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    finally:
        os.close(fd)
    return np.frombuffer(mapped, np.uint8).reshape(parcel.shape)


def sweep(max_age_s: float, session: str = "") -> None:
    """Remove lockers not used for `max_age_s` seconds: of one session, or of all."""
    oldest = time.time() - max_age_s
    for path in SHARED_MEMORY.glob(f"{PREFIX}{session}*"):
        with contextlib.suppress(OSError):  # another process may sweep the same locker
            if path.stat().st_mtime <= oldest:
                _remove(path)


def _remove(folder: Path) -> None:
    """Remove a folder while others may still be putting files into it.

    Without its name nobody finds it any more; what was on its way in at that moment is removed with it.
    """
    gone = folder.with_name(f"{folder.name}-gone")
    with contextlib.suppress(FileNotFoundError):  # never made, or swept
        folder.rename(gone)
        while True:
            try:
                gone.rmdir()
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:
                    raise
                for path in gone.iterdir():
                    path.unlink(missing_ok=True)
            else:
                return


def _write(path: Path, array: UInt8Array) -> bool:
    """Write the array to a new file readable by this user only; False when shared memory is full."""
    try:
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileNotFoundError as error:
        raise RequestEndedError("the request ended before its parcel was sent") from error
    except OSError:
        return False
    try:
        left = np.ascontiguousarray(array).data.cast("B")
        while left:
            left = left[os.write(fd, left) :]
    except OSError:
        path.unlink(missing_ok=True)
        return False
    finally:
        os.close(fd)
    return True
