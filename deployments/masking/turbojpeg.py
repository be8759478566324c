"""The coefficients of a JPEG by libjpeg-turbo, without a pixel: read, change in place, write.

TurboJPEG's transform reads every coefficient into memory, shows each row of blocks to a filter, and writes
what it then finds there. Our filter notes where the rows lie; at the last of them they are changed all at
once, before the first is written.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, Final, TypeAlias

import numpy as np

from deployments.errors import LosslessRefusedError, LosslessUnavailableError, MaskingError
from deployments.masking.jpeg_frame import SIDE, Frame
from deployments.masking.runs import run_length
from models.errors import FaceError
from models.types import Int16Array

Planes: TypeAlias = list[Int16Array]
"""For each component (rows, columns, 64): quantised, row by row, up to the last whole MCU. The memory is
libjpeg-turbo's: gone when the call that shows it returns."""

_INIT_TRANSFORM: Final = 2
_STOP_ON_WARNING: Final = 0
_COLOUR_SPACE: Final = 8
_PROGRESSIVE: Final = 12
_RESTART_BLOCKS: Final = 18
_NO_OUTPUT: Final = 16
_COPY_NONE: Final = 64
_COLOUR_SPACES: Final = {0: "RGB", 1: "YCbCr", 2: "GRAY"}
_BLOCK_BYTES: Final = 128


class _Region(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("x", "y", "w", "h")]


_Filter: Final = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, _Region, _Region, ctypes.c_int, ctypes.c_int, ctypes.c_void_p
)


class _Transform(ctypes.Structure):
    _fields_ = [
        ("region", _Region),
        ("operation", ctypes.c_int),
        ("options", ctypes.c_int),
        ("data", ctypes.c_void_p),
        ("filter", _Filter),
    ]


def rewrite(data: bytes, frame: Frame, change: Callable[[Planes, str], None]) -> bytes:
    """The same JPEG after `change` was at its coefficients.

    It is baseline, has no metadata, and a restart marker after each of its `runs`.

    Args:
        data: The whole file.
        frame: Of this file.
        change: Called once with the coefficients, and `GRAY`, `YCbCr` or `RGB`. What it raises is raised.

    Raises:
        LosslessRefusedError: The file is damaged, or of a kind that libjpeg-turbo does not copy.
        LosslessUnavailableError: libjpeg-turbo is not installed.
    """
    return _transform(data, frame, change, _COPY_NONE)


def look(data: bytes, frame: Frame, see: Callable[[Planes, str], None]) -> None:
    """Show the coefficients of a file; see `rewrite`."""
    _transform(data, frame, see, _COPY_NONE | _NO_OUTPUT)


def _transform(data: bytes, frame: Frame, visit: Callable[[Planes, str], None], options: int) -> bytes:
    library = _library()
    handle = library.tj3Init(_INIT_TRANSFORM)
    if not handle:
        raise MaskingError("libjpeg-turbo could not start")
    output, size = ctypes.c_void_p(), ctypes.c_size_t()
    try:
        library.tj3Set(handle, _STOP_ON_WARNING, 1)
        if library.tj3DecompressHeader(handle, data, len(data)):
            raise _refusal(library, handle)
        # What the header said would be what is written.
        library.tj3Set(handle, _PROGRESSIVE, 0)
        library.tj3Set(handle, _RESTART_BLOCKS, run_length(frame))
        space = _COLOUR_SPACES.get(library.tj3Get(handle, _COLOUR_SPACE))
        if space is None or (space == "GRAY") != (len(frame.components) == 1):
            raise LosslessRefusedError("the jpeg's colours are neither grey, YCbCr nor RGB")
        rows = _Rows(frame, lambda planes: visit(planes, space))
        transform = _Transform(options=options, filter=_Filter(rows.add))
        places = ctypes.byref(output), ctypes.byref(size)
        failed = library.tj3Transform(handle, data, len(data), 1, *places, ctypes.byref(transform))
        if rows.error is not None:
            raise rows.error
        if failed:
            raise _refusal(library, handle)
        if not rows.is_visited:
            raise MaskingError("libjpeg-turbo did not show every block of the jpeg")
        return ctypes.string_at(output, size.value) if output else b""
    finally:
        library.tj3Free(output)
        library.tj3Destroy(handle)


class _Rows:
    """Gathers the rows of blocks of one transform, and hands them on once all are there."""

    def __init__(self, frame: Frame, visit: Callable[[Planes], None]) -> None:
        self.error: BaseException | None = None
        self.is_visited = False
        self._frame = frame
        self._visit = visit
        self._addresses: list[list[int]] = [[] for _ in frame.components]
        self._awaited = frame.rows * frame.components[-1].down

    def add(self, address: int, _row: _Region, _plane: _Region, index: int, *_: object) -> int:
        """TurboJPEG's filter. ctypes would print what it raises and go on: it says -1 instead."""
        try:
            addresses = self._addresses[index]
            addresses.append(address)
            if index == len(self._addresses) - 1 and len(addresses) == self._awaited:
                self._visit([self._plane(i) for i in range(len(self._addresses))])
                self.is_visited = True
        except BaseException as error:
            self.error = error
            return -1
        return 0

    def _plane(self, index: int) -> Int16Array:
        """The rows of one component as one array; they lie one behind the other."""
        component, addresses = self._frame.components[index], self._addresses[index]
        rows, columns = self._frame.rows * component.down, self._frame.columns * component.across
        stride = addresses[1] - addresses[0] if rows > 1 else columns * _BLOCK_BYTES
        is_known = stride >= columns * _BLOCK_BYTES and stride % _BLOCK_BYTES == 0
        if not is_known or addresses != list(range(addresses[0], addresses[0] + rows * stride, stride)):
            raise MaskingError("libjpeg-turbo keeps the blocks of the jpeg in another way")
        memory = (ctypes.c_int16 * (rows * stride // 2)).from_address(addresses[0])
        return np.frombuffer(memoryview(memory), np.int16).reshape(rows, -1, SIDE * SIDE)[:, :columns]


def _refusal(library: Any, handle: int) -> FaceError:  # noqa: ANN401 - a ctypes library
    reason = library.tj3GetErrorStr(handle).decode("ascii", "replace")
    return LosslessRefusedError(f"lossless=true needs a jpeg without faults; this one: {reason}")


@cache
def _library() -> Any:  # noqa: ANN401 - ctypes makes its functions up
    """libjpeg-turbo 3 with its TurboJPEG interface.

    Raises:
        LosslessUnavailableError: It is not there.
    """
    try:
        library = ctypes.CDLL(_library_path())
        library.tj3Transform.argtypes = [
            ctypes.c_void_p,
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]
    except (OSError, AttributeError) as error:
        message = "lossless=true needs pylibjxl or libturbojpeg 3, which are not installed here"
        raise LosslessUnavailableError(message) from error
    library.tj3Init.restype = ctypes.c_void_p
    library.tj3GetErrorStr.restype = ctypes.c_char_p
    library.tj3GetErrorStr.argtypes = [ctypes.c_void_p]
    library.tj3Set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
    library.tj3Get.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.tj3DecompressHeader.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    library.tj3Free.argtypes = library.tj3Destroy.argtypes = [ctypes.c_void_p]
    return library


def _library_path() -> str:
    """The wheel of pylibjxl holds a libjpeg-turbo; where there is none for the platform, the system's."""
    try:
        return str(import_module("pylibjxl._pylibjxl").__file__)
    except ImportError:
        return "libturbojpeg.so.0"
