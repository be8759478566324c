"""A small JSON file with secrets in it: one dataclass that only its owner reads."""

import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import TypeAdapter, ValidationError

from serve_app.embedded.errors import EmbeddedError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")


def read_private(path: Path, kind: type[T]) -> T | None:
    """The dataclass in a file, None where there is no file.

    Raises:
        EmbeddedError: The file cannot be read, or holds something else.
    """
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes(), strict=True)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EmbeddedError(f"{path} cannot be read ({error.strerror}); run face-api as its owner") from error
    except ValidationError as error:
        raise EmbeddedError(
            f"{path} does not hold the credentials it should; restore it, or remove it to have new ones made"
        ) from error


def write_private(path: Path, value: "DataclassInstance") -> None:
    """Replace the file by a dataclass in one step; at no moment can others read it.

    Raises:
        EmbeddedError: The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")  # mode 0600
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(json.dumps(asdict(value), indent=2, ensure_ascii=False) + "\n")
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
