"""Runs of MCUs: what lies between two restart markers of a JPEG can be read without the rest of it."""

from dataclasses import replace
from typing import Final

import numpy as np

from deployments.decoding.jpeg_header import JpegHeader
from deployments.errors import MaskingError
from deployments.masking.jpeg_frame import Frame
from models.types import Int64Array

_LONGEST: Final = 20
_SHORTEST: Final = 8
_END: Final = b"\xff\xd9"


def run_length(frame: Frame) -> int:
    """MCUs in a run: a few, so that little has to be read for a face, and as many in every row."""
    lengths = range(min(_LONGEST, frame.columns), _SHORTEST - 1, -1)
    return next((length for length in lengths if frame.columns % length == 0), frame.columns)


class Runs:
    """The runs of a JPEG of one scan that has a restart marker after each of them."""

    def __init__(self, jpeg: bytes, header: JpegHeader, frame: Frame) -> None:
        """Find them.

        Raises:
            MaskingError: The file has more or fewer, or does not end where it should.
        """
        self._jpeg = jpeg
        self._header = header
        self._frame = frame
        count = frame.rows * frame.columns // run_length(frame)
        scan = np.frombuffer(jpeg, np.uint8, offset=header.scan_start)
        marks = np.flatnonzero(scan[:-1] == 0xFF)
        marks = marks[scan[marks + 1] != 0]  # a byte of 255 is followed by a zero
        numbers = scan[marks + 1]
        is_whole = len(marks) == count and np.array_equal(numbers[:-1], 0xD0 + np.arange(count - 1) % 8)
        if not is_whole or not jpeg.endswith(_END):
            raise MaskingError("the rewritten jpeg is not as long as the input")
        self._starts = np.concatenate([[0], marks[:-1] + 2]) + header.scan_start
        self._ends = marks + header.scan_start

    def alone(self, wanted: Int64Array) -> tuple[bytes, Frame]:
        """A picture as wide as this of nothing but some runs, one behind the other, and its frame.

        Args:
            wanted: (N,) their numbers, at least one; the last is there more than once, to fill its row.
        """
        in_row = self._frame.columns // run_length(self._frame)
        rows = -(-len(wanted) // in_row)
        filled = np.concatenate([wanted, np.repeat(wanted[-1:], rows * in_row - len(wanted))])
        frame = replace(self._frame, height=rows * self._frame.mcu_height)
        header = self._jpeg[: self._header.scan_start]
        at = header.index(self._header.frame) + 1  # after the precision (B.2.2)
        parts = [header[:at], frame.height.to_bytes(2, "big"), header[at + 2 :]]
        places = zip(self._starts[filled].tolist(), self._ends[filled].tolist(), strict=True)
        for number, (start, end) in enumerate(places):
            parts += [self._jpeg[start:end], bytes((0xFF, 0xD0 + number % 8))]
        return b"".join(parts[:-1]) + _END, frame
