"""Which input format some bytes are: decided by their signature, never by a name or a declared type."""

from typing import Final

from deployments.errors import UnsupportedFormatError
from deployments.types import InputFormat

_SIGNATURES: Final[tuple[tuple[bytes, InputFormat], ...]] = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0\x08\0\0\0", "tiff"),  # BigTIFF
    (b"MM\0+\0\x08\0\0", "tiff"),
)

_BMP_HEADER_SIZES: Final = frozenset({12, 40, 52, 56, 64, 108, 124})
"""Sizes of the DIB headers of BMP files; the signature "BM" alone also begins ordinary text."""

_HEIF_BRANDS: Final = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis"}
)
"""ISO/IEC 23008-12 and AVIF brands of still pictures and picture sequences."""

_MAX_FTYP_BYTES: Final = 256


def sniff(data: bytes) -> InputFormat:
    """Name the format of an encoded picture.

    Args:
        data: The whole upload.

    Raises:
        UnsupportedFormatError: The signature belongs to none of the input formats.
    """
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            return name
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp"
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _BMP_HEADER_SIZES:
        return "bmp"
    if data[4:8] == b"ftyp" and _has_heif_brand(data):
        return "heif"
    raise UnsupportedFormatError(
        "the bytes are no picture of a known format; accepted: JPEG, PNG, WebP, BMP, TIFF, GIF, HEIC, AVIF"
    )


def _has_heif_brand(data: bytes) -> bool:
    """Whether the major brand, or a compatible one, of an ISO base media file is a picture's."""
    size = min(int.from_bytes(data[:4], "big"), _MAX_FTYP_BYTES)
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, size, 4))]
    return not _HEIF_BRANDS.isdisjoint(brands)
