"""The file that tells an operator the address, password and key of a service with a database of its own."""

from dataclasses import dataclass
from pathlib import Path

from serve_app.embedded.private_file import read_private, write_private


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the first start made. Written by the launcher; read by it and by people."""

    url: str  # of the service
    admin_user: str
    admin_password: str
    api_key: str


def read_credentials(path: Path) -> Credentials | None:
    """The credentials in a file, None where there is no file.

    Raises:
        EmbeddedError: The file cannot be read, or holds something else.
    """
    return read_private(path, Credentials)


def write_credentials(path: Path, credentials: Credentials) -> None:
    """Replace the file in one step; at no moment can others read it.

    Raises:
        EmbeddedError: The file cannot be written.
    """
    write_private(path, credentials)
