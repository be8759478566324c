"""The embedded S3 server as the launcher and short commands see it."""

import contextlib
import secrets
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from serve_app.embedded.errors import EmbeddedError
from serve_app.embedded.owner import Owner
from serve_app.embedded.private_file import read_private, write_private
from serve_app.embedded.rclone import BUCKET, HOST, ObjectFolder, S3Keys, find_program
from serve_app.storage.options import StorageOptions

REGION: Final = "us-east-1"
PORTS: Final = range(20_000, 30_000)
"""Below those the kernel gives to outgoing connections: one could sit on the port while rclone restarts."""
PORT_TRIES: Final = 100
PORT_PATIENCE_S: Final = 1.0


class EmbeddedS3(Owner[ObjectFolder, StorageOptions]):
    """An S3 server on 127.0.0.1.

    Its port is that of the last start, so that links made then go on working, unless it is taken.
    """

    what = "the S3 server"
    way_out = ObjectFolder.way_out

    def _prepare(self) -> ObjectFolder:
        folder = self.folder.absolute().resolve()
        objects = ObjectFolder(folder, find_program(), _renewed_keys(folder))
        objects.prepare()
        return objects

    def _address(self, server: ObjectFolder) -> StorageOptions:
        return _options(server.keys)

    def _serving(self) -> StorageOptions | None:
        keys = read_private(_keys_file(self.folder), S3Keys)
        if keys is None or not ObjectFolder(self.folder, find_program(), keys).is_served():
            return None
        return _options(keys)


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
