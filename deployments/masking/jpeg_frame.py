"""The frame of a JPEG whose blocks are to be changed in place: sizes, sampling, tables (ITU-T T.81 B.2)."""

import struct
from dataclasses import dataclass
from typing import Final

from deployments.decoding.jpeg_header import JpegHeader
from deployments.errors import LosslessRefusedError

SIDE: Final = 8
"""Of a block, in samples."""

_KINDS: Final = {0xC0: "baseline", 0xC1: "extended sequential", 0xC2: "progressive"}
_ARITHMETIC: Final = frozenset({0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_MOST_BLOCKS: Final = 10
"""Of all components in one MCU, where a scan holds them all (B.2.3)."""


@dataclass(frozen=True, slots=True)
class Component:
    """One colour plane."""

    across: int  # blocks in an MCU, horizontally
    down: int
    quantisation: tuple[int, ...]  # 64 divisors, row by row


@dataclass(frozen=True, slots=True)
class Frame:
    """What two JPEGs have in common when they differ in nothing but their blocks."""

    width: int  # pixels, as stored
    height: int
    components: tuple[Component, ...]  # one of grey, three of colour

    @property
    def mcu_width(self) -> int:
        """Of the smallest part that holds whole blocks of each component, in pixels."""
        return SIDE * max(component.across for component in self.components)

    @property
    def mcu_height(self) -> int:
        """See `mcu_width`."""
        return SIDE * max(component.down for component in self.components)

    @property
    def columns(self) -> int:
        """MCUs side by side."""
        return -(-self.width // self.mcu_width)

    @property
    def rows(self) -> int:
        """MCUs one above the other."""
        return -(-self.height // self.mcu_height)


def read_frame(header: JpegHeader) -> Frame:
    """The frame, when its blocks can be changed one by one.

    Raises:
        LosslessRefusedError: Another kind of JPEG, more than 8 bits, CMYK, odd sampling, missing tables.
    """
    frame = header.frame
    if header.frame_type in _ARITHMETIC:
        raise LosslessRefusedError("the jpeg is arithmetic-coded; lossless=true takes Huffman-coded ones")
    if header.frame_type not in _KINDS:
        raise LosslessRefusedError("the jpeg is neither baseline nor progressive, which lossless=true takes")
    if frame[0] != 8:
        raise LosslessRefusedError(f"the jpeg has {frame[0]} bits a sample; lossless=true takes 8")
    count = frame[5]
    if count not in {1, 3} or len(frame) < 6 + 3 * count:
        raise LosslessRefusedError(
            f"the jpeg has {count} components{' (CMYK)' * (count == 4)}; lossless=true takes grey and colour"
        )
    tables = _read_tables(header.quantisation)
    entries = [frame[6 + 3 * i : 9 + 3 * i] for i in range(count)]
    if any(entry[2] not in tables for entry in entries):
        raise LosslessRefusedError("the jpeg's first scan comes before its quantisation tables")
    if any(0 in tables[entry[2]] for entry in entries):
        raise LosslessRefusedError("the jpeg's quantisation tables divide by zero")
    if count == 1:  # its blocks follow one another, whatever sampling it claims (A.2.2)
        return Frame(header.width, header.height, (Component(1, 1, tables[entries[0][2]]),))
    components = tuple(Component(entry[1] >> 4, entry[1] & 15, tables[entry[2]]) for entry in entries)
    _check_sampling(components)
    return Frame(header.width, header.height, components)


def _check_sampling(components: tuple[Component, ...]) -> None:
    factors = [(component.across, component.down) for component in components]
    across, down = max(a for a, _ in factors), max(d for _, d in factors)
    is_whole = all(a and d and across % a == 0 and down % d == 0 for a, d in factors)
    if not is_whole or max(across, down) > 4 or sum(a * d for a, d in factors) > _MOST_BLOCKS:
        named = ", ".join(f"{a}x{d}" for a, d in factors)
        raise LosslessRefusedError(
            f"the jpeg is sampled {named}; lossless=true takes 4:4:4, 4:2:2, 4:2:0 and their like"
        )


def _read_tables(segments: bytes) -> dict[int, tuple[int, ...]]:
    """Divisors by slot, row by row; the file has them in zigzag order, of 8 or 16 bits (B.2.4.1)."""
    tables: dict[int, tuple[int, ...]] = {}
    position = 0
    while position < len(segments):
        size = 2 if segments[position] >> 4 else 1
        values = segments[position + 1 : position + 1 + 64 * size]
        if len(values) < 64 * size:
            break
        divisors = struct.unpack(">64H", values) if size == 2 else values
        tables[segments[position] & 15] = tuple(divisors[place] for place in _ZIGZAG)
        position += 1 + 64 * size
    return tables


def _zigzag() -> tuple[int, ...]:
    """Where in the zigzag each coefficient stands, row by row (figure A.6): by diagonals, to and fro."""
    cells = [(row, column) for row in range(SIDE) for column in range(SIDE)]
    order = sorted(cells, key=lambda rc: (sum(rc), rc[0] if sum(rc) % 2 else rc[1]))
    return tuple(order.index(cell) for cell in cells)


_ZIGZAG: Final = _zigzag()
