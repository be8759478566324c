"""A zip as a target: pictures lie in a folder beside it until all are done, then the zip is made."""

import os
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path

from serve_app.batch.archive import BROKEN
from serve_app.redact.errors import PlaceError
from serve_app.redact.names import HEADER
from serve_app.redact.places import Folder, ZipFile


def working_folder(place: Folder | ZipFile) -> Path:
    """Where pictures for a place are put: the folder itself, or one beside the zip."""
    if isinstance(place, Folder):
        return place.path
    return place.path.with_name(f".{place.path.name}.unfinished")


def unpack(place: ZipFile) -> bool:
    """Lay out the pictures of a zip that an earlier run made, unless a run left some; whether it did.

    Raises:
        PlaceError: It is damaged, or not ours.
    """
    folder = working_folder(place)
    if folder.exists() or not place.path.exists():
        return False
    half = folder.with_name(f"{folder.name}.half")
    shutil.rmtree(half, ignore_errors=True)
    try:
        with zipfile.ZipFile(place.path) as archive:
            if HEADER not in archive.namelist():
                raise PlaceError(f"{place.path} is there, and redact did not make it: choose another TARGET")
            archive.extractall(half)  # names with `..` lose it
    except (*BROKEN, OSError) as error:
        shutil.rmtree(half, ignore_errors=True)
        raise PlaceError(f"{place.path} is there, and no zip that can be read ({error})") from error
    half.rename(folder)
    return True


def pack(place: ZipFile, names: Iterable[str]) -> None:
    """Make the zip of these files of the working folder, put it in place, and remove the folder.

    The zip that is there is replaced when the new one is whole and on the disk.
    """
    folder = working_folder(place)
    half = folder.with_name(f"{folder.name}.zip")
    with half.open("wb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name in names:
                archive.write(folder / name, name)
        file.flush()
        os.fsync(file.fileno())
    half.replace(place.path)
    shutil.rmtree(folder)


def forget(place: ZipFile) -> None:
    """Remove the working folder: the zip has all of it."""
    shutil.rmtree(working_folder(place))
