"""Numbers of one process in memory that outlives it, so that any process of the machine can add them up.

A scrape meets one ingress replica at random, and a replica that was killed must not take its counts along.
So each process keeps its numbers in a mapped file of its own, in a folder that belongs to the service; adding
to one is adding to a float in memory. The kernel's lock on a file says whether its process lives.
"""

import contextlib
import fcntl
import json
import logging
import mmap
import os
import shutil
import stat
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - the folder in it is this user's only
SLOTS: Final = 8192
VALUE_BYTES: Final = 8
TEXT_START: Final = SLOTS * VALUE_BYTES
FILE_BYTES: Final = TEXT_START + 2**17
"""192 KiB, reserved at once: writing to a page that memory has no room for would kill the process."""
FOLDER_PREFIX: Final = "face-api-metrics."
SUFFIX: Final = ".tally"
STARTING_S: Final = 60.0
"""A folder may be without a living process for so long before it counts as left behind."""
ENDED: Final = "ended.json"

Labels = tuple[str, ...]
logger = logging.getLogger("face_api.metrics")


def tally_folder(port: int) -> Path:
    """Where the processes of one service keep their numbers: those that share a metrics port."""
    parent = SHARED_MEMORY if SHARED_MEMORY.is_dir() else Path(tempfile.gettempdir())
    return parent / f"{FOLDER_PREFIX}{os.getuid()}.{port}"


@dataclass(frozen=True, slots=True)
class Series:
    """The numbers of one metric with one set of labels."""

    metric: str
    labels: Labels
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ProcessTally:
    """What one living process wrote."""

    pid: int
    role: str  # name of its deployment, or `Launcher`
    series: list[Series]


class Tally:
    """The numbers of this process: in memory of its own until `publish`.

    A number may be changed by one thread only; making a new series is safe from any.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, FILE_BYTES)
        self.values = memoryview(self._memory).cast("d")
        self._used_slots = 1  # slot 0 says how many bytes of text there are
        self._text_end = TEXT_START
        self._is_full = False
        self._lock = threading.Lock()
        self._fd: int | None = None

    def add_series(self, metric: str, labels: Labels, slots: int) -> int:
        """The first of `slots` slots for a new series, all 0.

        When nothing is left, slots that nobody reads: the service goes on, and says so once.
        """
        line = json.dumps([metric, labels, slots]).encode() + b"\n"
        with self._lock:
            first = self._used_slots
            if first + slots > SLOTS - MOST_SLOTS or self._text_end + len(line) > FILE_BYTES:
                if not self._is_full:
                    logger.warning(json.dumps({"event": "no room for more metrics", "metric": metric}))
                self._is_full = True
            if self._is_full:
                return SLOTS - MOST_SLOTS
            self._used_slots += slots
            self._write(line)
            return first

    def publish(self, port: int, role: str) -> None:
        """Move the numbers to a file that others can read; without a port, or a folder, they stay here."""
        if not port or self._fd is not None:
            return
        try:
            folder = _own_folder(port)
            read_tallies(port)  # folds the files of those that ended, should nobody scrape
            path = folder / f"{uuid.uuid4().hex}{SUFFIX}"
            with _turn(folder):  # a reader that saw it before it is locked would take it for a dead one's
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
                fcntl.flock(fd, fcntl.LOCK_EX)
                os.posix_fallocate(fd, 0, FILE_BYTES)
            memory = mmap.mmap(fd, FILE_BYTES)
        except OSError as error:
            reason = f"{type(error).__name__}: {error.strerror}"
            logger.warning(json.dumps({"event": "metrics of this process are not seen", "reason": reason}))
            return
        with self._lock:
            text = self._memory[TEXT_START : self._text_end]
            values = memoryview(memory).cast("d")
            values[: self._used_slots] = self.values[: self._used_slots]
            values[0] = 0.0
            self._memory, self.values, self._fd = memory, values, fd
            self._text_end = TEXT_START
            self._write(json.dumps({"pid": os.getpid(), "role": role}).encode() + b"\n" + text)

    def read(self) -> list[Series]:
        """The numbers of this process."""
        return _parse(bytes(self._memory))[1]

    def _write(self, text: bytes) -> None:
        self._memory[self._text_end : self._text_end + len(text)] = text
        self._text_end += len(text)
        self.values[0] = self._text_end - TEXT_START  # only now can it be read


MOST_SLOTS: Final = 128
"""Of one series."""
TALLY: Final = Tally()
"""Of this process."""


def remove_tallies(port: int) -> None:
    """When the service begins or has ended: nobody counts there any more."""
    shutil.rmtree(tally_folder(port), ignore_errors=True)


def remove_abandoned() -> None:
    """Remove what services on other ports left that were killed."""
    for folder in tally_folder(0).parent.glob(f"{FOLDER_PREFIX}{os.getuid()}.*"):
        with contextlib.suppress(OSError):
            is_starting = folder.stat().st_mtime > time.time() - STARTING_S
            if not is_starting and not any(map(_is_alive, folder.glob(f"*{SUFFIX}"))):
                shutil.rmtree(folder)


def _is_alive(path: Path) -> bool:
    fd = os.open(path, os.O_RDONLY)
    try:
        return _is_held(fd)
    finally:
        os.close(fd)


def read_tallies(port: int) -> tuple[list[ProcessTally], list[Series]]:
    """What every living process of this machine wrote, and the sums of those that ended."""
    folder = _own_folder(port)
    with _turn(folder):
        ended, included = _read_ended(folder)
        living: list[ProcessTally] = []
        dead: list[Path] = []
        for path in folder.glob(f"*{SUFFIX}"):
            fd = os.open(path, os.O_RDONLY)
            try:
                if _is_held(fd):
                    head, series = _parse(os.pread(fd, FILE_BYTES, 0))
                    if head:
                        living.append(ProcessTally(head["pid"], head["role"], series))
                else:
                    dead.append(path)
                    if path.name not in included:
                        _add(ended, _parse(os.pread(fd, FILE_BYTES, 0))[1])
            finally:
                os.close(fd)
        if dead:
            _write_ended(folder, ended, [path.name for path in dead])
            for path in dead:
                path.unlink()
    return living, [Series(*key, tuple(values)) for key, values in ended.items()]


def _own_folder(port: int) -> Path:
    folder = tally_folder(port)
    folder.mkdir(0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise PermissionError(1, f"{folder} is somebody else's")
    return folder


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """One reader at a time, since readers tidy up."""
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _is_held(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


Sums = dict[tuple[str, Labels], list[float]]


def _add(sums: Sums, series: list[Series]) -> None:
    for one in series:
        known = sums.setdefault((one.metric, one.labels), [0.0] * len(one.values))
        if len(known) == len(one.values):
            known[:] = [a + b for a, b in zip(known, one.values, strict=True)]


def _read_ended(folder: Path) -> tuple[Sums, set[str]]:
    """Sums of processes that ended, and the names of files that are part of them but may still be there."""
    try:
        content = json.loads((folder / ENDED).read_text())
    except FileNotFoundError:
        return {}, set()
    sums: Sums = {(metric, tuple(labels)): values for metric, labels, values in content["series"]}
    return sums, set(content["included"])


def _write_ended(folder: Path, sums: Sums, included: list[str]) -> None:
    series = [[metric, labels, values] for (metric, labels), values in sums.items()]
    new = folder / f"{ENDED}.new"
    new.write_text(json.dumps({"included": included, "series": series}))
    new.replace(folder / ENDED)  # at once: whoever is killed here leaves nothing counted twice


def _parse(content: bytes) -> tuple[dict[str, Any], list[Series]]:
    values = memoryview(content)[:TEXT_START].cast("d")
    text = content[TEXT_START : TEXT_START + int(values[0])]
    head: dict[str, Any] = {}
    series: list[Series] = []
    slot = 1
    for line in text.splitlines():
        entry = json.loads(line)
        if isinstance(entry, dict):
            head = entry
            continue
        metric, labels, slots = entry
        series.append(Series(metric, tuple(labels), tuple(values[slot : slot + slots])))
        slot += slots
    return head, series
