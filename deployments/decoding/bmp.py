"""BMP by OpenCV: the libvips wheel has no loader for it. The header is judged here first."""

import struct
from typing import Final

import cv2
import numpy as np

from deployments.decoding.exif import UPRIGHT
from deployments.decoding.header import check_size
from deployments.decoding.raster import Raster
from deployments.errors import ImageDecodeError

_CORE_HEADER: Final = 12
_BITS: Final = frozenset({1, 4, 8, 16, 24, 32})
_UNCOMPRESSED: Final = frozenset({0, 3, 6})  # BI_RGB, BI_BITFIELDS, BI_ALPHABITFIELDS
_RUN_LENGTH: Final = {1: 8, 2: 4}  # BI_RLE8, BI_RLE4: bits per pixel

cv2.utils.logging.setLogLevel(
    cv2.utils.logging.LOG_LEVEL_SILENT
)  # corrupt uploads are nothing to write to stderr about


def decode_bmp(data: bytes, max_pixels: int) -> Raster:
    """Decode a Windows or OS/2 bitmap to RGB. Its rarely meant fourth channel is dropped, as viewers do.

    Raises:
        ImageTooLargeError: More than `max_pixels`, judged from the header.
        ImageDecodeError: Truncated, corrupt or of a kind that is not a plain bitmap.
    """
    width, height = _read_header(data, max_pixels)
    try:
        pixels = cv2.imdecode(
            np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        )
    except cv2.error as error:
        raise ImageDecodeError("the bmp is corrupt") from error
    if pixels is None or pixels.shape != (height, width, 3):
        raise ImageDecodeError("the bmp is truncated or corrupt")
    return Raster(pixels, width, height, UPRIGHT, icc_profile=None)  # type: ignore[arg-type]


def _read_header(data: bytes, max_pixels: int) -> tuple[int, int]:
    """Width and height in pixels, once they, the depth and the length of the file fit together.

    Source: Microsoft's BITMAPFILEHEADER, BITMAPCOREHEADER and BITMAPINFOHEADER.
    """
    try:
        offset, header_size = struct.unpack_from("<II", data, 10)
        if header_size == _CORE_HEADER:
            width, height, planes, bits = struct.unpack_from("<HHHH", data, 18)
            compression = 0
        else:
            width, height, planes, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    except struct.error as error:
        raise ImageDecodeError("the bmp header is truncated") from error
    height = abs(height)  # negative: rows are stored top down
    check_size(width, height, max_pixels)
    if compression not in _UNCOMPRESSED and _RUN_LENGTH.get(compression) != bits:
        raise ImageDecodeError(f"the bmp has compression {compression} with {bits} bits per pixel")
    if planes != 1 or bits not in _BITS:
        raise ImageDecodeError(f"the bmp has {planes} planes of {bits} bits per pixel")
    row_bytes = (width * bits + 31) // 32 * 4
    if compression in _UNCOMPRESSED and offset + row_bytes * height > len(data):
        raise ImageDecodeError("the bmp is truncated")
    return width, height
