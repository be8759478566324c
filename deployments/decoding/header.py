"""How large a picture is and may be, judged before a pixel of it is decoded.

Sizes of PNG, GIF and WebP are read here. JPEG, HEIF and BMP have modules of their own, since their decoders
need more of the header. TIFF keeps the size behind offsets; libvips finds it there without decoding a pixel.
"""

from typing import Final

from deployments.errors import ImageDecodeError, ImageTooLargeError
from deployments.types import InputFormat

MAX_SIDE: Final = 1_000_000
"""Pixels. No photograph comes near it; libraries begin to misbehave well beyond it."""


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse a picture whose header promises too much, or nothing.

    Raises:
        ImageDecodeError: A side is not positive.
        ImageTooLargeError: More than `max_pixels` pixels, or an absurd side.
    """
    if width < 1 or height < 1:
        raise ImageDecodeError(f"the header says the picture is {width} x {height} pixels")
    if width * height > max_pixels:
        raise ImageTooLargeError(
            f"the picture is {width} x {height} = {width * height} pixels; at most {max_pixels} are accepted"
        )
    if max(width, height) > MAX_SIDE:
        raise ImageTooLargeError(
            f"the picture is {width} x {height} pixels; a side may have at most {MAX_SIDE}"
        )


def read_size(data: bytes, image_format: InputFormat) -> tuple[int, int] | None:
    """Width and height in pixels as the header claims them, or None where only libvips can tell.

    Raises:
        ImageDecodeError: The header is cut off or not where the format wants it.
    """
    try:
        match image_format:
            case "png":
                return _png_size(data)
            case "gif":
                return _gif_size(data)
            case "webp":
                return _webp_size(data)
            case _:
                return None
    except IndexError as error:
        raise ImageDecodeError(f"the {image_format} header is truncated") from error


def _png_size(data: bytes) -> tuple[int, int]:
    """IHDR, which must be the first chunk (W3C PNG section 5.6)."""
    if data[12:16] != b"IHDR":
        raise ImageDecodeError("the png does not begin with an IHDR chunk")
    return _number(data, 16, 4, "big"), _number(data, 20, 4, "big")


def _gif_size(data: bytes) -> tuple[int, int]:
    """Logical screen size (GIF89a section 18). libvips may enlarge it to the frames: it is asked again."""
    return _number(data, 6, 2), _number(data, 8, 2)


def _webp_size(data: bytes) -> tuple[int, int]:
    """Canvas of VP8X, or the frame of a simple file (RFC 9649)."""
    match data[12:16]:
        case b"VP8X":
            return _number(data, 24, 3) + 1, _number(data, 27, 3) + 1
        case b"VP8L":
            packed = _number(data, 21, 4)
            return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            return _number(data, 26, 2) & 0x3FFF, _number(data, 28, 2) & 0x3FFF
        case _:
            raise ImageDecodeError("the webp has no picture chunk at its start")


def _number(data: bytes, start: int, size: int, order: str = "little") -> int:
    """Unsigned number of `size` bytes; IndexError when the data ends before it."""
    if start + size > len(data):
        raise IndexError(start)
    return int.from_bytes(data[start : start + size], "big" if order == "big" else "little")
