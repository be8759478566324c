"""Keeps PostgreSQL running: one thread starts it, waits for it, and starts it again when it dies."""

import contextlib
import json
import logging
import subprocess
import threading
import time
from concurrent.futures import Future
from typing import Final

from serve_app.embedded.cluster import Cluster
from serve_app.embedded.errors import EmbeddedError
from serve_app.embedded.postmaster import STOP_STEPS, read_pid_file

READY_TIMEOUT_S: Final = 120.0
"""A dead server is noticed at once; this is for one that recovers after a kill on a slow disk."""
STARTING_TICK_S: Final = 0.02
RUNNING_TICK_S: Final = 0.25
MIN_DELAY_S: Final = 0.5
MAX_DELAY_S: Final = 8.0

logger = logging.getLogger("face_api.embedded")


class Supervisor:
    """The server of one cluster, from `start` to `stop`.

    Linux ends a child when the thread that made it ends (PR_SET_PDEATHSIG). So one thread makes every server
    and lives as long as they shall.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._log = cluster.log
        self._stopping = threading.Event()
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="embedded-postgres", daemon=True)

    def start(self) -> None:
        """Returns when the server accepts connections.

        Raises:
            EmbeddedError: It ended before, or took longer than READY_TIMEOUT_S.
        """
        self._thread.start()
        try:
            self._started.result(READY_TIMEOUT_S)
        except TimeoutError as error:
            raise EmbeddedError(
                f"PostgreSQL was not ready after {READY_TIMEOUT_S:.0f} s; its log is {self._log.path}"
            ) from error

    def stop(self) -> None:
        """End the server; returns when it is gone."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._cluster.clean_up()

    def _run(self) -> None:
        delay_s = MIN_DELAY_S
        while True:
            began_s = time.monotonic()
            reason = self._serve_once()
            if self._stopping.is_set():
                return
            if not self._started.done():
                self._started.set_exception(
                    EmbeddedError(
                        f"PostgreSQL did not start: {reason} (log: {self._log.path}); "
                        "mend that, or set FACE_API_DATABASE_URL to a server of yours"
                    )
                )
                return
            if time.monotonic() - began_s > MAX_DELAY_S:
                delay_s = MIN_DELAY_S
            event = "embedded PostgreSQL died; starting it again"
            logger.warning(json.dumps({"event": event, "reason": reason, "delay_s": delay_s}))
            if self._stopping.wait(delay_s):
                return
            delay_s = min(delay_s * 2, MAX_DELAY_S)

    def _serve_once(self) -> str:
        """Run the server until it ends or shall end; what it said last."""
        try:
            self._log.keep_small()
            self._log.mark()
            process = self._cluster.spawn()
        except OSError as error:
            return str(error)
        is_ready = False
        while process.poll() is None and not self._stopping.wait(
            RUNNING_TICK_S if is_ready else STARTING_TICK_S
        ):
            if is_ready:
                self._log.keep_small()
            elif (found := read_pid_file(self._cluster.data)) and found.is_ready and found.pid == process.pid:
                is_ready = True
                if not self._started.done():
                    self._started.set_result(None)
        _end(process)
        return self._log.last_words()


def _end(process: subprocess.Popen[bytes]) -> None:
    for number, patience_s in STOP_STEPS:
        process.send_signal(number)  # does nothing once it has ended
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
            return
