"""Starts a server that ends with the thread that started it."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

from serve_app.embedded import child
from serve_app.embedded.account import Account
from serve_app.embedded.serverlog import ServerLog


def start_child(
    command: Sequence[str],
    account: Account,
    death_signal: signal.Signals,
    log: ServerLog,
    environment: Mapping[str, str],
) -> subprocess.Popen[bytes]:
    """Start a program out of reach of the terminal's Ctrl-C.

    Args:
        command: Absolute path of the program, and its arguments.
        account: Whom it runs as, if this is root.
        death_signal: What Linux sends it when the calling thread ends.
        log: Takes its standard error.
        environment: All of it.
    """
    words = [account.uid, account.gid, int(death_signal), os.getpid()]
    shim = [sys.executable, "-I", "-S", child.__file__, *map(str, words)]
    with log.open() as output:
        return subprocess.Popen(  # noqa: S603 - our own words
            [*shim, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=output,
            cwd="/",
            env=environment,
            start_new_session=True,
        )
