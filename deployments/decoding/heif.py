"""What must be known of a HEIF before libvips sees it: libheif judges sizes once it has made the pixels."""

import re
from typing import Final

from deployments.decoding.header import MAX_SIDE
from deployments.errors import ImageDecodeError, ImageTooLargeError

_EXTENT: Final = re.compile(rb"ispe\0{4}(.{4})(.{4})", re.DOTALL)  # ISO/IEC 23008-12, 6.5.3
_OVERLAY: Final = re.compile(rb"infe[\x02\x03].{7}(?:..)?iovl", re.DOTALL)  # the same, 6.6.2.2
_DERIVED: Final = re.compile(rb"(.{4})dimg", re.DOTALL)  # ISO/IEC 14496-12, 8.11.12
_MAX_TILES: Final = 1024
"""A telephone's 48 megapixels have 200."""
_DERIVED_BYTES: Final = 12
"""Of the box that names the tiles, besides two for each."""


def check_heif(data: bytes) -> None:
    """Refuse a file that would take far more memory than the size it claims.

    An overlay's canvas is as large as its payload says, whatever the file says of it. A side that libvips
    cannot count is taken for 1.

    Raises:
        ImageTooLargeError: A side is larger than any picture's.
        ImageDecodeError: An overlay, or more tiles than any camera's.
    """
    for found in _EXTENT.finditer(data):
        side = max(int.from_bytes(number, "big") for number in found.groups())
        if side > MAX_SIDE:
            raise ImageTooLargeError(
                f"a picture in the file is {side} pixels long; a side may have at most {MAX_SIDE}"
            )
    if _OVERLAY.search(data):
        raise ImageDecodeError("the heif lays pictures over each other, which is not read here")
    sizes = (int.from_bytes(found[1], "big") for found in _DERIVED.finditer(data))
    if max(sizes, default=0) > _DERIVED_BYTES + 2 * _MAX_TILES:
        raise ImageDecodeError(f"the heif is made of too many tiles; at most {_MAX_TILES} are accepted")
