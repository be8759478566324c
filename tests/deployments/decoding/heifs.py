"""HEIF files made by hand: pictures derived from others, and sizes that are not true."""

import struct
from dataclasses import dataclass
from typing import Literal

from tests.deployments.decoding.pictures import encode, quadrants

AVIF = encode(quadrants(), "AVIF")  # 48 x 32
WIDTH, HEIGHT = 48, 32


@dataclass(frozen=True)
class Style:
    """How boxes are written: libheif reads the odd ones as well."""

    flags: int = 0
    is_large: bool = False
    """Sizes have 64 bits; that of a reference is less than it has."""

    def box(self, name: bytes, payload: bytes) -> bytes:
        if self.is_large:
            return struct.pack(">I4sQ", 1, name, len(payload) + 16) + payload
        return struct.pack(">I", len(payload) + 8) + name + payload

    def full(self, name: bytes, payload: bytes, version: int = 0) -> bytes:
        return self.box(name, struct.pack(">I", version << 24 | self.flags) + payload)

    def reference(self, name: bytes, payload: bytes) -> bytes:
        return struct.pack(">I4sQ", 1, name, 20) + payload if self.is_large else self.box(name, payload)


PLAIN = Style()
STYLES = (PLAIN, Style(flags=4), Style(is_large=True))


def derived(
    kind: Literal["grid", "iovl"],
    size: tuple[int, int],
    claimed: tuple[int, int],
    tiles: int = 1,
    style: Style = PLAIN,
) -> bytes:
    """The 48 x 32 picture in a grid or on a canvas; that is the primary picture, the second in the file.

    Args:
        kind: `grid` has `tiles` columns of it, `iovl` is an overlay.
        size: Width and height by the grid's or the canvas's payload.
        claimed: The same by the file's properties.
        tiles: How often it is there.
        style: Of all boxes but the file's type and the pixels.
    """
    box, full = style.box, style.full
    numbers = struct.pack(">II", *size)
    fill, places = struct.pack(">4H", 0, 0, 0, 65535), struct.pack(">ii", 0, 0) * tiles
    payload = b"\0\1" + (
        bytes([0, min(tiles, 256) - 1]) + numbers if kind == "grid" else fill + numbers + places
    )
    pixels = AVIF[AVIF.index(b"mdat") + 4 :]
    items = full(b"infe", struct.pack(">HH", 1, 0) + b"av01\0", 2)
    items += full(b"infe", struct.pack(">HH", 2, 0) + kind.encode() + b"\0", 2)
    extents = [full(b"ispe", struct.pack(">II", *sides)) for sides in ((WIDTH, HEIGHT), claimed)]
    properties = box(b"ipco", extents[0] + part(b"pixi") + part(b"av1C") + part(b"colr") + extents[1])
    used = struct.pack(">IHB4BHB3B", 2, 1, 4, 1, 2, 0x83, 4, 2, 3, 5, 2, 4)
    named = struct.pack(">HH", 2, tiles) + struct.pack(">H", 1) * tiles

    def meta(at: int) -> bytes:
        places = struct.pack(">BBHHHHHII", 0x44, 0, 2, 1, 0, 0, 1, at, len(pixels))
        places += struct.pack(">HHHHII", 2, 1, 0, 1, 0, len(payload))
        return full(
            b"meta",
            full(b"hdlr", b"\0" * 4 + b"pict" + b"\0" * 13)
            + full(b"pitm", struct.pack(">H", 2))
            + full(b"iloc", places, 1)
            + full(b"iinf", struct.pack(">H", 2) + items)
            + full(b"iref", style.reference(b"dimg", named))
            + box(b"iprp", properties + full(b"ipma", used))
            + box(b"idat", payload),
        )

    start = AVIF[:32]  # ftyp
    return start + meta(len(start) + len(meta(0)) + 8) + PLAIN.box(b"mdat", pixels)


def part(name: bytes) -> bytes:
    """A box of the picture itself."""
    at = AVIF.index(name) - 4
    return AVIF[at : at + int.from_bytes(AVIF[at : at + 4], "big")]
