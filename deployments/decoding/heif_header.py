"""What must be known of a HEIF before a decoder sees it: libheif judges sizes once it has made the pixels.

Boxes are read as libheif reads them (ISO/IEC 14496-12, 4.2): with 64-bit sizes, whatever their flags, and
references by their own count. Nothing else is read: among compressed pixels any four letters come by chance.
"""

from typing import Final, NamedTuple

from deployments.decoding.header import check_size
from deployments.errors import ImageDecodeError, ImageTooLargeError

_MAX_PARTS: Final = 8_000
"""Boxes, references and properties of items in one file. A telephone's 48 megapixels have some 1,500."""
_MAX_TILES: Final = 1024
"""A telephone's 48 megapixels have 200."""
_TILES_SHARE: Final = 2
"""Of the pixels that are accepted: those at the right and the bottom stand out."""


class HeifHeader(NamedTuple):
    """What a decoder will meet."""

    kinds: frozenset[bytes]
    """Four letters of each kind of item: `hvc1` is a picture in HEVC, `av01` in AV1."""
    pixels: int
    """Of the largest picture in the file, or of its tiles together; 0 where the file names no size."""


def read_heif_header(data: bytes, max_pixels: int) -> HeifHeader:
    """Read the boxes, and refuse a file that would take far more memory than the size it claims.

    An overlay's canvas is as large as its payload says, and a grid's as its tiles are, whatever the file says
    of them. A side that libvips cannot count is taken for 1. A picture beside the primary one, such as its
    alpha, may be the larger one.

    Raises:
        ImageTooLargeError: A picture in the file has more than `max_pixels`, the tiles of one twice as many,
            or a side is absurd.
        ImageDecodeError: An overlay, more tiles or parts than any camera's, or twice what may be there once.
    """
    reader = _Reader(data)
    meta = reader.inside(_only(reader.inside(_Box(b"", 0, len(data))), b"meta"), 4)
    kinds = reader.kinds(_only(meta, b"iinf"))
    if b"iovl" in kinds:  # ISO/IEC 23008-12, 6.6.2.2
        raise ImageDecodeError("the heif lays pictures over each other, which is not read here")
    properties = reader.inside(_only(meta, b"iprp"))
    extents = reader.extents(_only(properties, b"ipco"), max_pixels)
    pixels: dict[int, int] = {}
    for box in properties:
        if box.name == b"ipma":
            for item, number in reader.associations(box):
                if number < len(extents):
                    pixels[item] = max(pixels.get(item, 0), extents[number])
    tiled = [sum(pixels.get(item, 0) for item in named) for named in reader.references(_only(meta, b"iref"))]
    if max(tiled, default=0) > _TILES_SHARE * max_pixels:
        raise ImageTooLargeError(
            f"the tiles of a picture have {max(tiled)} pixels; at most {max_pixels} are accepted"
        )
    return HeifHeader(kinds, max(*extents, *tiled, 0))


class _Box(NamedTuple):
    """Four letters, and where the payload begins and ends."""

    name: bytes
    start: int
    end: int


def _only(boxes: list[_Box], name: bytes) -> _Box:
    """That one, or an empty one: of two, libheif might read the other."""
    found = [box for box in boxes if box.name == name]
    if len(found) > 1:
        raise ImageDecodeError(f"the heif has more than one {name.decode()} box")
    return found[0] if found else _Box(name, 0, 0)


class _Reader:
    """The boxes of one file, no more of them than a camera makes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._parts = 0

    def inside(self, box: _Box, header: int = 0) -> list[_Box]:
        """The boxes in one; like libheif, none after one that has no room for its own header.

        Args:
            box: Holds boxes.
            header: Bytes of its own before them.
        """
        found, start = [], box.start + header
        while start + 8 <= box.end:
            size, name, own = self._number(start, 4), self._data[start + 4 : start + 8], 8
            if size == 1:
                size, own = self._number(start + 8, 8), 16
            elif size == 0:
                size = box.end - start
            if size < own:
                break
            found.append(_Box(name, start + own, min(start + size, box.end)))
            self._count(1)
            start += size
        return found

    def kinds(self, box: _Box) -> frozenset[bytes]:
        """Of the items in an `iinf` box (14496-12, 8.11.6); before version 2 they have none."""
        infos = self.inside(box, 8 if self._version(box) else 6)  # its count grew
        starts = (
            info.start + (8 if self._version(info) == 2 else 10) for info in infos if info.name == b"infe"
        )
        return frozenset(self._data[start : start + 4] for start in starts)

    def extents(self, box: _Box, max_pixels: int) -> list[int]:
        """Pixels of each property in an `ipco` box, which are numbered from 1; 0 where it is no `ispe`."""
        found = [0]
        for item in self.inside(box):
            pixels = 0
            if item.name == b"ispe":  # 23008-12, 6.5.3
                width, height = self._number(item.start + 4, 4), self._number(item.start + 8, 4)
                check_size(width, height, max_pixels)
                pixels = width * height
            found.append(pixels)
        return found

    def associations(self, box: _Box) -> list[tuple[int, int]]:
        """Items and the numbers of their properties in an `ipma` box (23008-12, 9.3)."""
        item_width = 4 if self._version(box) else 2
        width = 2 if self._number(box.start + 3, 1) & 1 else 1
        mask = 0x7FFF if width == 2 else 0x7F  # the top bit: essential
        found: list[tuple[int, int]] = []
        at = box.start + 8
        while at < box.end:
            item, count = self._number(at, item_width), self._number(at + item_width, 1)
            self._count(1 + count)
            at += item_width + 1
            found += [(item, self._number(at + width * place, width) & mask) for place in range(count)]
            at += width * count
        return found

    def references(self, box: _Box) -> list[list[int]]:
        """Items that each part of an `iref` box names (14496-12, 8.11.12), such as a grid its tiles."""
        width = 4 if self._version(box) else 2
        found: list[list[int]] = []
        at = box.start + 4
        while at + 8 < box.end:
            at += (16 if self._number(at, 4) == 1 else 8) + width
            count = self._number(at, 2)
            if count > _MAX_TILES:
                raise ImageDecodeError(
                    f"the heif is made of too many tiles; at most {_MAX_TILES} are accepted"
                )
            self._count(1 + count)
            found.append([self._number(at + 2 + width * number, width) for number in range(count)])
            at += 2 + width * count
        return found

    def _count(self, parts: int) -> None:
        """Refuse a file of nothing but small parts: each takes its time."""
        self._parts += parts
        if self._parts > _MAX_PARTS:
            raise ImageDecodeError(f"the heif has too many parts; at most {_MAX_PARTS} are accepted")

    def _version(self, box: _Box) -> int:
        """Of a box that has one."""
        return self._number(box.start, 1) if box.start < box.end else 0

    def _number(self, start: int, size: int) -> int:
        """Unsigned; 0 beyond the end."""
        return int.from_bytes(self._data[start : start + size], "big")
