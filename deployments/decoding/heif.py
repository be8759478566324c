"""HEIF: AVIF by libvips, HEIC by pillow-heif, since the wheel of libvips has no decoder of HEVC."""

from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from deployments.decoding.exif import UPRIGHT
from deployments.decoding.header import check_size
from deployments.decoding.heif_header import read_heif_header
from deployments.decoding.icc import rgb_profile
from deployments.decoding.raster import Raster
from deployments.decoding.vips import decode_vips
from deployments.errors import ImageDecodeError, UnsupportedFormatError
from models.errors import FaceError
from models.types import UInt8Array

try:
    import pillow_heif
except ImportError:  # the extra `heic`: its wheel holds x265, which is GPL
    pillow_heif = None  # type: ignore[assignment]
else:
    pillow_heif.options.DECODE_THREADS = 1  # one request, one thread: replicas scale
    pillow_heif.options.THUMBNAILS = False
    pillow_heif.options.DEPTH_IMAGES = False
    pillow_heif.options.AUX_IMAGES = False

_HEVC: Final = b"hvc1"
_AV1: Final = b"av01"


def decode_heif(data: bytes, max_pixels: int) -> Raster:
    """Decode the primary picture of a HEIF to 8-bit RGB or RGBA.

    Raises:
        UnsupportedFormatError: It is coded in HEVC, and the extra `heic` is not installed.
        ImageTooLargeError: More than `max_pixels`, judged from the header.
        ImageDecodeError: Truncated or corrupt.
    """
    kinds = read_heif_header(data, max_pixels).kinds
    if _HEVC not in kinds or _AV1 in kinds:
        return decode_vips(data, "heif", max_pixels)
    if pillow_heif is None:
        raise UnsupportedFormatError(
            "the picture is a HEIC, which is not read here; accepted: JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF"
        )
    return _decode_hevc(data, max_pixels)


def _decode_hevc(data: bytes, max_pixels: int) -> Raster:
    """By libheif and libde265, which turn it upright by `irot` and `imir`."""
    try:
        file = pillow_heif.open_heif(data)
        image = file[file.primary_index]
        claimed = image.size
        check_size(*claimed, max_pixels)
        pixels = _to_rgb(np.array(image), is_premultiplied=image.premultiplied_alpha)
        profile: Any = image.info.get("icc_profile")
    except FaceError:
        raise
    except Exception as error:  # its Python meets whatever metadata a file has
        raise ImageDecodeError("the heif is truncated or corrupt") from error
    height, width = pixels.shape[:2]
    if (width, height) != claimed:
        raise ImageDecodeError("the heif has another size than it claims")
    return Raster(pixels, width, height, UPRIGHT, rgb_profile(profile))


def _to_rgb(pixels: npt.NDArray[np.uint8 | np.uint16], *, is_premultiplied: bool) -> UInt8Array:
    """Grey becomes RGB, and straight alpha what was multiplied.

    Args:
        pixels: (h, w), of 16 bits where grey has more than 8; (h, w, 3) or (h, w, 4).
        is_premultiplied: Colours are those over black.
    """
    if pixels.ndim == 2:
        grey = pixels if pixels.dtype == np.uint8 else pixels >> 8
        return np.repeat(grey.astype(np.uint8)[:, :, np.newaxis], 3, axis=2)
    colour: UInt8Array = pixels.astype(np.uint8, copy=False)
    return cv2.cvtColor(colour, cv2.COLOR_mRGBA2RGBA) if is_premultiplied else colour  # type: ignore[return-value]
