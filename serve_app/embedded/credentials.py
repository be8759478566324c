"""The file that tells an operator the address, password and key of a service with a database of its own."""

import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from serve_app.embedded.errors import EmbeddedError


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
    try:
        return TypeAdapter(Credentials).validate_json(path.read_bytes(), strict=True)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EmbeddedError(f"{path} cannot be read ({error.strerror}); run face-api as its owner") from error
    except ValidationError as error:
        raise EmbeddedError(
            f"{path} does not hold the credentials it should; restore it, or remove it to have new ones made"
        ) from error


def write_credentials(path: Path, credentials: Credentials) -> None:
    """Replace the file in one step; at no moment can others read it.

    Raises:
        EmbeddedError: The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")  # mode 0600
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(json.dumps(asdict(credentials), indent=2, ensure_ascii=False) + "\n")
                file.flush()
                os.fsync(descriptor)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise EmbeddedError(
            f"{path} cannot be written ({error.strerror}); set FACE_API_DATA_DIR to another folder"
        ) from error
