"""Keeps a server running: one thread starts it, waits for it, and starts it again when it dies."""

import contextlib
import json
import logging
import signal
import subprocess
import threading
import time
from concurrent.futures import Future
from typing import Final, Protocol

from serve_app.embedded.errors import EmbeddedError
from serve_app.embedded.serverlog import ServerLog
from serve_app.metrics import EMBEDDED_RESTARTS, EMBEDDED_UP
from serve_app.process_memory import anonymous_bytes

READY_TIMEOUT_S: Final = 120.0
"""A dead server is noticed at once; this is for one that recovers after a kill on a slow disk."""
STARTING_TICK_S: Final = 0.02
RUNNING_TICK_S: Final = 0.25
MIN_DELAY_S: Final = 0.5
MAX_DELAY_S: Final = 8.0
SETTLED_S: Final = 600.0
"""After so long a server holds in memory what it needs; what it takes beyond is growth."""

StopSteps = tuple[tuple[signal.Signals, float], ...]
"""Signals, each with the seconds it is waited for."""

logger = logging.getLogger("face_api.embedded")


class Server(Protocol):
    """What can be started and watched: one folder of PostgreSQL, or of rclone."""

    @property
    def name(self) -> str:
        """As people call it."""
        ...

    @property
    def way_out(self) -> str:
        """What to do instead of mending it."""
        ...

    @property
    def stop_steps(self) -> StopSteps:
        """How it is asked to end."""
        ...

    @property
    def most_growth_bytes(self) -> int | None:
        """Memory beyond that of SETTLED_S after which it is started anew; None: it does not grow."""
        ...

    @property
    def log(self) -> ServerLog:
        """The log, from its beginning."""
        ...

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start it as a child of the calling thread."""
        ...

    def is_ready(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether the server that this process is does its work."""
        ...

    def clean_up(self) -> None:
        """Remove what it leaves behind."""
        ...


class Supervisor:
    """One server, from `start` to `stop`.

    Linux ends a child when the thread that made it ends (PR_SET_PDEATHSIG). So one thread makes every server
    and lives as long as they shall.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        EMBEDDED_RESTARTS.expect(server.name)
        self._log = server.log
        self._stopping = threading.Event()
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name=f"embedded-{server.name}", daemon=True)

    def start(self) -> None:
        """Returns when the server accepts connections.

        Raises:
            EmbeddedError: It ended before, or took longer than READY_TIMEOUT_S.
        """
        self._thread.start()
        try:
            self._started.result(READY_TIMEOUT_S)
        except TimeoutError as error:
            name, log = self._server.name, self._log.path
            raise EmbeddedError(
                f"{name} was not ready after {READY_TIMEOUT_S:.0f} s; its log is {log}"
            ) from error

    def stop(self) -> None:
        """End the server; returns when it is gone."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._server.clean_up()

    def _run(self) -> None:
        delay_s = MIN_DELAY_S
        while True:
            began_s = time.monotonic()
            reason = self._serve_once()
            if self._stopping.is_set():
                return
            if reason is None:
                event = f"embedded {self._server.name} had grown; started anew"
                logger.info(json.dumps({"event": event}))
                continue
            if not self._started.done():
                self._started.set_exception(
                    EmbeddedError(
                        f"{self._server.name} did not start: {reason} (log: {self._log.path}); "
                        f"mend that, or {self._server.way_out}"
                    )
                )
                return
            if time.monotonic() - began_s > MAX_DELAY_S:
                delay_s = MIN_DELAY_S
            EMBEDDED_RESTARTS.inc(self._server.name)
            event = f"embedded {self._server.name} died; starting it again"
            logger.warning(json.dumps({"event": event, "reason": reason, "delay_s": delay_s}))
            if self._stopping.wait(delay_s):
                return
            delay_s = min(delay_s * 2, MAX_DELAY_S)

    def _serve_once(self) -> str | None:
        """Run the server until it ends or shall end; what it said last, None if it had grown too large."""
        try:
            self._log.keep_small()
            self._log.mark()
            process = self._server.spawn()
        except OSError as error:
            return str(error)
        is_ready, has_grown = False, False
        growth = _Growth(process.pid, self._server.most_growth_bytes)
        while process.poll() is None and not self._stopping.wait(
            RUNNING_TICK_S if is_ready else STARTING_TICK_S
        ):
            if is_ready:
                self._log.keep_small()
                if has_grown := growth.is_too_large():
                    break
            elif self._server.is_ready(process):
                is_ready = True
                EMBEDDED_UP.set(1, self._server.name)
                if not self._started.done():
                    self._started.set_result(None)
        EMBEDDED_UP.set(0, self._server.name)
        _end(process, self._server.stop_steps)
        return None if has_grown else self._log.last_words()


class _Growth:
    """What a process takes beyond what it held SETTLED_S after its start."""

    def __init__(self, pid: int, most_bytes: int | None) -> None:
        self._pid = pid
        self._most_bytes = most_bytes
        self._settled_s = time.monotonic() + SETTLED_S
        self._settled_bytes: int | None = None

    def is_too_large(self) -> bool:
        """Whether it is more than it may be."""
        if self._most_bytes is None or time.monotonic() < self._settled_s:
            return False
        held = anonymous_bytes(self._pid)
        if self._settled_bytes is None:
            self._settled_bytes = held
        return held - self._settled_bytes > self._most_bytes


def _end(process: subprocess.Popen[bytes], stop_steps: StopSteps) -> None:
    for number, patience_s in stop_steps:
        process.send_signal(number)  # does nothing once it has ended
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
            return
