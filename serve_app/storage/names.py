"""Keys of objects, and file names that are safe in them, in headers and on a client's disk."""

import re
import unicodedata
from typing import Final
from urllib.parse import quote
from uuid import UUID

ORIGINALS: Final = "originals/"
PROCESSED: Final = "processed/"
PREFIXES: Final = (ORIGINALS, PROCESSED)

MAX_CHARACTERS: Final = 100
MAX_UTF8_BYTES: Final = 200  # a file system takes 255, and rclone adds to the name while it writes
MOST_FOLDERS: Final = 16
WINDOWS_RESERVED: Final = frozenset('<>:"/\\|?*')
JOINERS: Final = frozenset("\u200c\u200d")
"""Invisible, but parts of Persian words and of emoji; every other format character goes."""
EXTENSIONS: Final = {
    "jpeg": ("jpg", "jpeg", "jpe", "jfif"),
    "png": ("png",),
    "webp": ("webp",),
    "gif": ("gif",),
    "bmp": ("bmp", "dib"),
    "tiff": ("tif", "tiff"),
    "heif": ("heic", "heif", "hif", "avif"),
}
"""The usual one first. A name that ends otherwise gets it."""
IMAGE_EXTENSIONS: Final = frozenset(extension for names in EXTENSIONS.values() for extension in names)
NOT_PLAIN: Final = re.compile(r'[^ -~]|["\\%]')


def original_key(image_id: UUID, filename: str) -> str:
    """Where an upload lies; `filename` comes from `safe_filename`."""
    return f"{ORIGINALS}{image_id}/{filename}"


def processed_key(image_id: UUID, job_id: UUID, image_format: str) -> str:
    """Where a result lies."""
    return f"{PROCESSED}{image_id}/{job_id}.{image_format}"


def safe_filename(text: str | None, image_format: str) -> str:
    """A client's file name without what could harm: one path segment that says what the picture is.

    Letters of any script and emoji stay. An extension of another image format gives way to that of the
    picture's real one; anything else before it stays.

    Args:
        text: As the client sent it; None if it sent none.
        image_format: What the bytes are: jpeg, png, webp and so on.

    Returns:
        1 to MAX_CHARACTERS characters and at most MAX_UTF8_BYTES bytes, NFC.
    """
    extensions = EXTENSIONS.get(image_format, (image_format,))
    name = re.split(r"[/\\]", text or "")[-1]
    name = unicodedata.normalize("NFC", "".join(map(_kept, unicodedata.normalize("NFC", name))))
    stem, dot, extension = _stripped(name).rpartition(".")
    if not dot:
        stem, extension = extension, ""
    if extension.lower() not in extensions:
        if extension and extension.lower() not in IMAGE_EXTENSIONS:
            stem = f"{stem}.{extension}"
        extension = extensions[0]
    return f"{_cut(_stripped(stem), len(extension) + 1) or 'image'}.{extension}"


def safe_path(text: str | None, image_format: str) -> str:
    """As `safe_filename`, below the folders the client named: a relative path that climbs nowhere.

    Returns:
        1 to MOST_FOLDERS + 1 segments; of more folders the innermost.
    """
    *folders, name = re.split(r"[/\\]", text or "")
    kept = [
        _cut(_stripped("".join(map(_kept, unicodedata.normalize("NFC", folder)))), 0) for folder in folders
    ]
    return "/".join((*list(filter(None, kept))[-MOST_FOLDERS:], safe_filename(name, image_format)))


def content_disposition(filename: str) -> str:
    """Header by which a browser saves under a name: plain for old clients, and in full (RFC 6266, 5987)."""
    plain = NOT_PLAIN.sub("_", filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"


def _kept(character: str) -> str:
    """The character, a space for any white space, or nothing."""
    category = unicodedata.category(character)
    if category.startswith("Z"):
        return " "
    if category == "Cn":  # unassigned, as the next year's emoji are; or no character at all
        code = ord(character)
        return "" if code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF else character
    if category.startswith("C"):  # control, format (bidi too), surrogate, private
        return character if character in JOINERS else ""
    return "" if character in WINDOWS_RESERVED else character


def _stripped(name: str) -> str:
    """Without what a file name must not begin or end with."""
    return name.lstrip(". \u200c\u200d").rstrip(". \u200c\u200d")


def _cut(stem: str, reserved: int) -> str:
    """As much of the stem as leaves room for so many ASCII characters."""
    data = stem[: MAX_CHARACTERS - reserved].encode()[: MAX_UTF8_BYTES - reserved]
    return _stripped(data.decode(errors="ignore"))
