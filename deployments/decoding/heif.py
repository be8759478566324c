"""What must be known of a HEIF before libvips sees it: libheif judges sizes once it has made the pixels.

Boxes are read as libheif reads them (ISO/IEC 14496-12, 4.2): with 64-bit sizes, whatever their flags, and
references by their own count. Nothing else is read: among compressed pixels any four letters come by chance.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from deployments.decoding.header import check_size
from deployments.errors import ImageDecodeError

_MAX_BOXES: Final = 20_000
"""With references, in one file. A telephone's 48 megapixels have some 500."""
_MAX_TILES: Final = 1024
"""A telephone's 48 megapixels have 200."""

_OPENED: Final = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"iinf": 6}
"""Boxes to look into, and the bytes of version, flags and a 16-bit count before what is in them."""
_DEEPEST: Final = 3
"""`ispe` is in `ipco`, in `iprp`, in `meta`."""
_REFERENCE: Final = b"a reference"


class _Box(NamedTuple):
    """Four letters, and where the payload begins and ends; of a reference, where its count does."""

    name: bytes
    start: int
    end: int


def check_heif(data: bytes, max_pixels: int) -> None:
    """Refuse a file that would take far more memory than the size it claims.

    An overlay's canvas is as large as its payload says, whatever the file says of it. A side that libvips
    cannot count is taken for 1. A picture beside the primary one, such as its alpha, may be the larger one.

    Raises:
        ImageTooLargeError: A picture in the file has more than `max_pixels`, or an absurd side.
        ImageDecodeError: An overlay, or more tiles or boxes than any camera's.
    """
    for number, box in enumerate(_walk(data, 0, len(data))):
        if number == _MAX_BOXES:
            raise ImageDecodeError(f"the heif has too many parts; at most {_MAX_BOXES} are accepted")
        if box.name == b"ispe":  # ISO/IEC 23008-12, 6.5.3
            check_size(_number(data, box.start + 4, 4), _number(data, box.start + 8, 4), max_pixels)
        elif box.name == b"infe" and _item_type(data, box) == b"iovl":  # the same, 6.6.2.2
            raise ImageDecodeError("the heif lays pictures over each other, which is not read here")
        elif box.name == _REFERENCE and _number(data, box.start, 2) > _MAX_TILES:
            raise ImageDecodeError(f"the heif is made of too many tiles; at most {_MAX_TILES} are accepted")


def _walk(data: bytes, start: int, end: int, depth: int = 0) -> Iterator[_Box]:
    """Every box between two places, those in it, and references."""
    for box in _boxes(data, start, end):
        yield box
        if box.name == b"iref":
            yield from _references(data, box)
        elif box.name in _OPENED and depth < _DEEPEST:
            inside = box.start + _OPENED[box.name]
            inside += 2 if box.name == b"iinf" and _version(data, box) else 0  # its count has 32 bits
            yield from _walk(data, inside, box.end, depth + 1)


def _boxes(data: bytes, start: int, end: int) -> Iterator[_Box]:
    """Boxes that lie side by side; like libheif, no further than one that has no room for its own header."""
    while start + 8 <= end:
        size, name, header = _number(data, start, 4), data[start + 4 : start + 8], 8
        if size == 1:
            size, header = _number(data, start + 8, 8), 16
        elif size == 0:
            size = end - start
        if size < header:
            return
        yield _Box(name, start + header, min(start + size, end))
        start += size


def _references(data: bytes, box: _Box) -> Iterator[_Box]:
    """One after the other in an `iref` box (14496-12, 8.11.12), such as that of a grid to its tiles."""
    width = 4 if _version(data, box) else 2
    at = box.start + 4
    while at + 8 < box.end:
        at += (16 if _number(data, at, 4) == 1 else 8) + width
        yield _Box(_REFERENCE, at, at + 2)
        at += 2 + width * _number(data, at, 2)


def _item_type(data: bytes, box: _Box) -> bytes:
    """Four letters of an `infe` box (14496-12, 8.11.6); those before version 2 are of no picture."""
    at = box.start + (8 if _version(data, box) == 2 else 10)
    return data[at : at + 4]


def _version(data: bytes, box: _Box) -> int:
    """Of a box that has one."""
    return _number(data, box.start, 1)


def _number(data: bytes, start: int, size: int) -> int:
    """Unsigned; 0 beyond the end."""
    return int.from_bytes(data[start : start + size], "big")
