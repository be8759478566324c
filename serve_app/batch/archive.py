"""A zip that somebody sent: what it claims is checked before it costs anything."""

import io
import struct
import zipfile
import zlib
from typing import Final

from deployments.errors import ImageDecodeError
from serve_app.body import BodyTooLargeError, MalformedBodyError

END_SIGNATURE: Final = b"PK\x05\x06"
END_BYTES: Final = 22
MOST_COMMENT_BYTES: Final = 65535
ZIP64_LOCATOR_SIGNATURE: Final = b"PK\x06\x07"
ZIP64_LOCATOR_BYTES: Final = 20
ENTRY_BYTES: Final = 512
"""Of the central directory for each picture: 46, a name, and as much again for what is no picture."""
LEAST_DIRECTORY_BYTES: Final = 64 * 1024
METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
"""Others may ask for gigabytes of memory before their first byte."""
ENCRYPTED: Final = 0x1
BROKEN: Final = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OverflowError,
    ValueError,
)

Entries = list[zipfile.ZipInfo]


def open_archive(file: io.BytesIO, most_items: int) -> tuple[zipfile.ZipFile, Entries]:
    """The archive and its files, without folders and what macOS hides beside them; nothing is unpacked.

    Args:
        file: The whole archive; its comment is cut off.
        most_items: Bounds what is read of its directory; there may be more all the same.

    Raises:
        MalformedBodyError: It is no zip we read.
    """
    try:
        if _end_with_directory(file) > LEAST_DIRECTORY_BYTES + most_items * ENTRY_BYTES:
            raise MalformedBodyError("the zip's directory is too large for the pictures a batch may hold")
        archive = zipfile.ZipFile(file)
    except BROKEN as error:
        raise MalformedBodyError(f"the body is no zip that can be read ({error})") from error
    return archive, [entry for entry in archive.infolist() if not _is_left_out(entry)]


def read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most_bytes: int) -> bytes:
    """Unpack one file; never more than it claimed to be.

    Raises:
        BodyTooLargeError: It claims more than `most_bytes`.
        MalformedBodyError: It is encrypted, packed in another way, or named to lie outside of the archive.
        ImageDecodeError: It is damaged.
    """
    if leads_out(entry.filename):
        raise MalformedBodyError("the entry's name leads out of the zip; name it by a relative path")
    if entry.file_size > most_bytes:
        raise BodyTooLargeError(f"the picture is larger than {most_bytes} bytes, the most that is accepted")
    if entry.flag_bits & ENCRYPTED or entry.compress_type not in METHODS:
        raise MalformedBodyError("the zip's entry is encrypted or not deflated; store or deflate it")
    try:
        with archive.open(entry) as file:
            return file.read(entry.file_size)  # without a size it would unpack up to 2 GB before it cuts
    except BROKEN as error:
        raise ImageDecodeError("the zip's entry is damaged") from error


def leads_out(path: str) -> bool:
    """Whether a path is absolute, on a drive of its own, or climbs with `..`."""
    parts = path.replace("\\", "/").split("/")
    return parts[0] == "" or parts[0].endswith(":") or ".." in parts


def _is_left_out(entry: zipfile.ZipInfo) -> bool:
    return entry.is_dir() or entry.filename.startswith("__MACOSX/")


def _end_with_directory(file: io.BytesIO) -> int:
    """Cut off the comment, so that there is one place where the directory can end; its size in bytes.

    `zipfile` reads the whole directory, whatever its size: millions of entries fit in a body. It looks for
    the end where this does, since nothing follows it any more.

    Raises:
        BadZipFile: There is no end, or one for archives over 4 GB, which overrules this one.
    """
    with file.getbuffer() as view:
        start = max(len(view) - MOST_COMMENT_BYTES - END_BYTES, 0)
        tail = bytes(view[start:])
    at = tail.rfind(END_SIGNATURE)
    if at < 0 or at + END_BYTES > len(tail):
        raise zipfile.BadZipFile("its end is missing")
    before = tail[max(at - ZIP64_LOCATOR_BYTES, 0) : at]
    if before.startswith(ZIP64_LOCATOR_SIGNATURE):
        raise zipfile.BadZipFile("it is of the kind for more than 4 GB")
    file.seek(start + at + END_BYTES - 2)
    file.truncate()
    file.write(b"\0\0")
    return int.from_bytes(tail[at + 12 : at + 16], "little")
