"""What must be known of a HEIF before a decoder sees it: libheif judges sizes once it has made the pixels.

Boxes are read as libheif reads them (ISO/IEC 14496-12, 4.2): with 64-bit sizes, whatever their flags, and
references by their own count. Nothing else is read: among compressed pixels any four letters come by chance.
"""

from typing import Final, NamedTuple

from deployments.decoding.header import check_size
from deployments.errors import ImageDecodeError, ImageTooLargeError

_MAX_PARTS: Final = 20_000
"""Boxes in a box, references, properties of items. A telephone's 48 megapixels have 200 to 1,000 of each."""
_MAX_TILES: Final = 1024
"""A telephone's 48 megapixels have 200."""
_TILES_SHARE: Final = 2
"""Of the pixels that are accepted: those at the right and the bottom stand out."""


class _Box(NamedTuple):
    """Four letters, and where the payload begins and ends."""

    name: bytes
    start: int
    end: int


def check_heif(data: bytes, max_pixels: int) -> frozenset[bytes]:
    """Refuse a file that would take far more memory than the size it claims.

    An overlay's canvas is as large as its payload says, and a grid's as its tiles are, whatever the file says
    of them. A side that libvips cannot count is taken for 1. A picture beside the primary one, such as its
    alpha, may be the larger one.

    Returns:
        Four letters of each kind of item that the file has: `hvc1` is a picture in HEVC, `av01` in AV1.

    Raises:
        ImageTooLargeError: A picture in the file has more than `max_pixels`, the tiles of one twice as many,
            or a side is absurd.
        ImageDecodeError: An overlay, more tiles or parts than any camera's, or twice what may be there once.
    """
    meta = _inside(data, _only(_inside(data, _Box(b"", 0, len(data))), b"meta"), 4)
    infos = _only(meta, b"iinf")
    boxes = _inside(data, infos, 8 if _version(data, infos) else 6)  # 8.11.6: its count grew
    kinds = frozenset(_item_type(data, box) for box in boxes if box.name == b"infe")
    if b"iovl" in kinds:  # ISO/IEC 23008-12, 6.6.2.2
        raise ImageDecodeError("the heif lays pictures over each other, which is not read here")
    iprp = _inside(data, _only(meta, b"iprp"))
    extents = [0]  # of each property in pixels; they are numbered from 1
    for box in _inside(data, _only(iprp, b"ipco")):
        extents.append(_extent(data, box, max_pixels) if box.name == b"ispe" else 0)
    associations: list[tuple[int, int]] = []
    for box in iprp:
        if box.name == b"ipma":
            associations += _associations(data, box)
            _check_parts(len(associations))
    pixels: dict[int, int] = {}
    for item, index in associations:
        if index < len(extents):
            pixels[item] = max(pixels.get(item, 0), extents[index])
    for items in _references(data, _only(meta, b"iref")):
        together = sum(pixels.get(item, 0) for item in items)
        if together > _TILES_SHARE * max_pixels:
            raise ImageTooLargeError(
                f"the tiles of a picture have {together} pixels; at most {max_pixels} are accepted"
            )
    return kinds


def _inside(data: bytes, box: _Box, header: int = 0) -> list[_Box]:
    """The boxes in one; like libheif, none after one that has no room for its own header.

    Args:
        data: The file.
        box: Holds boxes.
        header: Bytes of its own before them.
    """
    found, start = [], box.start + header
    while start + 8 <= box.end:
        size, name, own = _number(data, start, 4), data[start + 4 : start + 8], 8
        if size == 1:
            size, own = _number(data, start + 8, 8), 16
        elif size == 0:
            size = box.end - start
        if size < own:
            break
        found.append(_Box(name, start + own, min(start + size, box.end)))
        _check_parts(len(found))
        start += size
    return found


def _only(boxes: list[_Box], name: bytes) -> _Box:
    """That one, or an empty one: of two, libheif might read the other."""
    found = [box for box in boxes if box.name == name]
    if len(found) > 1:
        raise ImageDecodeError(f"the heif has more than one {name.decode()} box")
    return found[0] if found else _Box(name, 0, 0)


def _item_type(data: bytes, box: _Box) -> bytes:
    """Four letters of an `infe` box (14496-12, 8.11.6); those before version 2 are of no picture."""
    at = box.start + (8 if _version(data, box) == 2 else 10)
    return data[at : at + 4]


def _extent(data: bytes, box: _Box, max_pixels: int) -> int:
    """Pixels of an `ispe` box (23008-12, 6.5.3)."""
    width, height = _number(data, box.start + 4, 4), _number(data, box.start + 8, 4)
    check_size(width, height, max_pixels)
    return width * height


def _associations(data: bytes, box: _Box) -> list[tuple[int, int]]:
    """Items and the numbers of their properties in an `ipma` box (23008-12, 9.3); 0 is none."""
    item_width = 4 if _version(data, box) else 2
    width = 2 if _number(data, box.start + 3, 1) & 1 else 1
    number = 0x7FFF if width == 2 else 0x7F  # the top bit: essential
    found, at = [], box.start + 8
    while at < box.end:
        item, count = _number(data, at, item_width), _number(data, at + item_width, 1)
        at += item_width + 1
        found.append((item, 0))
        found += [(item, _number(data, at + width * place, width) & number) for place in range(count)]
        at += width * count
        _check_parts(len(found))
    return found


def _references(data: bytes, box: _Box) -> list[list[int]]:
    """Items that each part of an `iref` box names (14496-12, 8.11.12), such as a grid its tiles."""
    width = 4 if _version(data, box) else 2
    found: list[list[int]] = []
    at, read = box.start + 4, 0
    while at + 8 < box.end:
        at += (16 if _number(data, at, 4) == 1 else 8) + width
        count = _number(data, at, 2)
        if count > _MAX_TILES:
            raise ImageDecodeError(f"the heif is made of too many tiles; at most {_MAX_TILES} are accepted")
        found.append([_number(data, at + 2 + width * number, width) for number in range(count)])
        at += 2 + width * count
        read += 1 + count
        _check_parts(read)
    return found


def _check_parts(number: int) -> None:
    if number > _MAX_PARTS:
        raise ImageDecodeError(f"the heif has too many parts; at most {_MAX_PARTS} are accepted")


def _version(data: bytes, box: _Box) -> int:
    """Of a box that has one."""
    return _number(data, box.start, 1) if box.start < box.end else 0


def _number(data: bytes, start: int, size: int) -> int:
    """Unsigned; 0 beyond the end."""
    return int.from_bytes(data[start : start + size], "big")
