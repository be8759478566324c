"""The embedded S3 server as the launcher and short commands see it."""

import contextlib
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Final

from serve_app.embedded.errors import EmbeddedError
from serve_app.embedded.folder import lock_folder, start_or_join, translated, turn
from serve_app.embedded.private_file import read_private, write_private
from serve_app.embedded.rclone import BUCKET, HOST, ObjectFolder, S3Keys, find_program
from serve_app.embedded.supervisor import Supervisor
from serve_app.storage.options import StorageOptions

REGION: Final = "us-east-1"
PORTS: Final = range(20_000, 30_000)
"""Below those the kernel gives to outgoing connections: one could sit on the port while rclone restarts."""
PORT_TRIES: Final = 100
PORT_PATIENCE_S: Final = 1.0


class EmbeddedS3:
    """An S3 server over a folder of ours, run as a child of this process on 127.0.0.1.

    It ends with this process, however that ends (on Linux), and is started again when it dies.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: IO[bytes] | None = None
        self._supervisor: Supervisor | None = None

    def start(self) -> StorageOptions:
        """Start it, after making its folder and keys on first use; how to reach it.

        The port is the one of the last start, so that links made then go on working, unless it is taken.

        Raises:
            FolderInUseError: Another process runs the S3 server of this folder.
            EmbeddedError: It cannot run; says what to do.
        """
        self._lock = lock_folder(self.folder, "the S3 server", ObjectFolder.way_out)
        try:
            with translated(self.folder, ObjectFolder.way_out):
                folder = self.folder.absolute().resolve()
                objects = ObjectFolder(folder, find_program(), _renewed_keys(folder))
                objects.prepare()
            self._supervisor = Supervisor(objects)
            self._supervisor.start()
        except BaseException:
            self.stop()
            raise
        return _options(objects.keys)

    def stop(self) -> None:
        """End it and wait for that. Nothing happens the second time."""
        if self._supervisor is not None:
            self._supervisor.stop()
            self._supervisor = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None


@contextmanager
def running(folder: Path) -> Iterator[StorageOptions]:
    """How to reach the S3 server of a folder for a short command: the one that runs, else one of its own.

    Commands on one folder wait for each other, so that none stops the server another one uses.

    Raises:
        EmbeddedError: It cannot run; says what to do.
    """
    with turn(folder, ObjectFolder.way_out):
        s3 = EmbeddedS3(folder)
        options = start_or_join(s3.start, lambda: _serving_options(folder))
        try:
            yield options
        finally:
            s3.stop()


def _keys_file(folder: Path) -> Path:
    return folder / "keys.json"


def _renewed_keys(folder: Path) -> S3Keys:
    """The keys in the folder's file with a port that is free; both made where they are missing."""
    path = _keys_file(folder)
    found = read_private(path, S3Keys)
    if found is None:
        found = S3Keys(secrets.token_hex(10).upper(), secrets.token_hex(20), _free_port())
    elif _is_free_soon(found.port):
        return found
    else:
        found = replace(found, port=_free_port())
    write_private(path, found)
    return found


def _serving_options(folder: Path) -> StorageOptions | None:
    """How to reach the server that another process runs; None while it does not answer."""
    keys = read_private(_keys_file(folder), S3Keys)
    if keys is None or not ObjectFolder(folder, find_program(), keys).is_served():
        return None
    return _options(keys)


def _options(keys: S3Keys) -> StorageOptions:
    return StorageOptions(
        endpoint=f"http://{HOST}:{keys.port}",
        public_endpoint=None,
        region=REGION,
        bucket=BUCKET,
        access_key=keys.access_key,
        secret_key=keys.secret_key,
    )


def _free_port() -> int:
    for _ in range(PORT_TRIES):
        port = secrets.choice(PORTS)
        if _is_free(port):
            return port
    raise EmbeddedError(f"no port from {PORTS[0]} to {PORTS[-1]} is free on {HOST}")


def _is_free_soon(port: int) -> bool:
    """Whether a port is free within PORT_PATIENCE_S: a server that was just killed may still hold it."""
    deadline = time.monotonic() + PORT_PATIENCE_S
    while not (is_free := _is_free(port)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return is_free


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as rclone does
        with contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return True
    return False
