"""What all processes of a server cost, whatever they did to their parents.

A server's processes are found again at every look, by any of four signs:

- it descends from one that is known: its parent is one of them;
- it is in the session of one that is known (the server is started as a session leader);
- it was known before: who is re-parented to init stays a member, by process id and start time;
- its environment carries the mark the server was started with, as /proc shows it.

So the daemons that Ray and PostgreSQL detach are counted: they inherit the mark, and those that overwrite
their environment with a title keep their parent or their session. Linux only, like the comparison.
"""

import contextlib
import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final

from serve_app.process_memory import anonymous_bytes

PROC: Final = Path("/proc")
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
MARK: Final = "COMPARED_SERVER"
SAMPLE_EVERY_S: Final = 0.25
KILL_TIMEOUT_S: Final = 10.0

Identity = tuple[int, int]
"""Process id and start time in ticks: an id alone may be used again."""


@dataclass(frozen=True, slots=True)
class Stat:
    """What one line of /proc/PID/stat says (proc(5))."""

    pid: int
    parent: int
    session: int
    started: int  # ticks since the machine's start
    cpu_s: float  # own, and of children that have ended and were waited for
    is_zombie: bool

    @classmethod
    def read(cls, pid: int) -> "Stat | None":
        """None when there is no such process any more."""
        try:
            text = (PROC / str(pid) / "stat").read_text(errors="replace")
        except OSError:
            return None
        fields = text[text.rindex(")") + 2 :].split()  # the name before may hold anything
        return cls(
            pid=pid,
            parent=int(fields[1]),
            session=int(fields[3]),
            started=int(fields[19]),
            cpu_s=sum(map(int, fields[11:15])) / TICKS_PER_S,
            is_zombie=fields[0] == "Z",
        )


class ProcessTree:
    """A started server: its first process and every one that came of it."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], log: IO[bytes], cwd: Path | None = None
    ) -> None:
        mark = f"{MARK}={uuid.uuid4().hex}"
        name, value = mark.split("=")
        self._mark = mark.encode()
        self._known: set[Identity] = set()
        self._strangers: set[Identity] = set()  # looked at once: no mark
        self._lock = threading.Lock()
        self.process = subprocess.Popen(  # noqa: S603 - our own command
            command,
            env={**environment, name: value},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            start_new_session=True,
        )

    def members(self) -> list[Stat]:
        """Every process of the server that lives."""
        with self._lock:
            return self._members()

    def _members(self) -> list[Stat]:
        pids = [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]
        everyone = {stat.pid: stat for pid in pids if (stat := Stat.read(pid)) is not None}
        root = self.process.pid
        found = {
            stat.pid: stat
            for stat in everyone.values()
            if stat.pid == root or (stat.pid, stat.started) in self._known or self._is_marked(stat)
        }
        while True:
            sessions = {stat.session for stat in found.values()} | {root}
            more = {
                stat.pid: stat
                for stat in everyone.values()
                if stat.pid not in found and (stat.parent in found or stat.session in sessions)
            }
            if not more:
                break
            found |= more
        self._known |= {(stat.pid, stat.started) for stat in found.values()}
        return [stat for stat in found.values() if not stat.is_zombie]

    def _is_marked(self, stat: Stat) -> bool:
        identity = stat.pid, stat.started
        if identity in self._strangers:
            return False
        with contextlib.suppress(OSError):
            if self._mark in (PROC / str(stat.pid) / "environ").read_bytes().split(b"\0"):
                return True
        self._strangers.add(identity)
        return False

    def cpu_s(self) -> float:
        """Processor seconds of all members since each began, user and kernel."""
        return sum(stat.cpu_s for stat in self.members())

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """No member takes any processor time while the block runs."""
        self._signal_all(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: int) -> None:
        for stat in self.members():
            with contextlib.suppress(ProcessLookupError):
                os.kill(stat.pid, number)

    def settle(self, busy: float = 0.25, window_s: float = 0.3, timeout_s: float = 60.0) -> None:
        """Wait until the server has nothing left to do: it takes less than `busy` of one core."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            before = self.cpu_s()
            time.sleep(window_s)
            if self.cpu_s() - before < busy * window_s:
                return

    def stop(self, timeout_s: float) -> None:
        """SIGTERM to the first process; what is left of the server after `timeout_s` is killed."""
        self.members()  # whoever loses its parent in the end is known by then
        if self.process.poll() is None:
            self.process.terminate()
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and self.members():
            self.process.poll()
            time.sleep(0.1)
        deadline = time.monotonic() + KILL_TIMEOUT_S
        while self.members() and time.monotonic() < deadline:
            self._signal_all(signal.SIGKILL)
            self.process.poll()
            time.sleep(0.1)
        self.process.wait(KILL_TIMEOUT_S)


class PeakMemory:
    """The largest memory of a server while the block runs: proportional set size of all its processes.

    That size counts a shared page once, divided among its users, but takes the kernel milliseconds to add up
    for each process. So during the block only anonymous memory is looked at, four times a second, in a
    fraction of a millisecond; the rest (libraries, shared memory, less what forks share) is taken when the
    block has ended.
    """

    def __init__(self, tree: ProcessTree) -> None:
        self._tree = tree
        self._pids = [stat.pid for stat in tree.members()]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._anonymous = 0
        self.bytes = 0

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        pids = [stat.pid for stat in self._tree.members()]
        rest = sum(map(pss_bytes, pids)) - sum(map(anonymous_bytes, pids))
        self.bytes = self._anonymous + rest

    def _watch(self) -> None:
        while True:
            self._anonymous = max(self._anonymous, sum(map(anonymous_bytes, self._pids)))
            if self._ended.wait(SAMPLE_EVERY_S):
                return


def pss_bytes(pid: int) -> int:
    """Proportional set size from smaps_rollup; 0 for one that ended or is not ours to look at."""
    try:
        text = (PROC / str(pid) / "smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:")), 0)
