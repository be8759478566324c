"""Pixels and their ICC profile to an encoded picture that carries nothing else."""

from typing import Any, Final

import numpy as np
import simplejpeg

from deployments.errors import UnencodableError
from deployments.libvips import pyvips
from deployments.masking.jpeg_segments import with_segments
from deployments.transparency import flatten
from deployments.types import OutputFormat
from models.types import UInt8Array

MAX_SIDE: Final[dict[OutputFormat, int]] = {"jpeg": 65500, "webp": 16383, "png": 2**31 - 1}
"""Longest side each format can hold, in pixels (libjpeg's JPEG_MAX_DIMENSION; the VP8 header)."""

PNG_COMPRESSION: Final = 1
WEBP_EFFORT: Final = 0


def encode(pixels: UInt8Array, icc_profile: bytes | None, image_format: OutputFormat, quality: int) -> bytes:
    """Encode (H, W, 3) RGB or (H, W, 4) RGBA.

    Args:
        pixels: C-contiguous. Transparency is flattened on white for jpeg, kept for png and webp.
        icc_profile: An RGB profile, or None for sRGB.
        image_format: What to write.
        quality: 1-100 for jpeg and webp; png is lossless.

    Raises:
        UnencodableError: The format cannot hold a picture of this size.
    """
    height, width = pixels.shape[:2]
    if max(height, width) > MAX_SIDE[image_format]:
        raise UnencodableError(
            f"{image_format} holds at most {MAX_SIDE[image_format]} pixels on a side, the picture is "
            f"{width}x{height}; ask for format=png"
        )
    if image_format == "jpeg":
        return _jpeg(flatten(pixels), icc_profile, quality)
    return _with_vips(pixels, icc_profile, image_format, quality)


def _jpeg(pixels: UInt8Array, icc_profile: bytes | None, quality: int) -> bytes:
    data: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(pixels), quality=quality, colorspace="RGB", colorsubsampling="420"
    )
    return with_segments(data, icc_profile)


def _with_vips(
    pixels: UInt8Array, icc_profile: bytes | None, image_format: OutputFormat, quality: int
) -> bytes:
    height, width, bands = pixels.shape
    contiguous = np.ascontiguousarray(pixels)
    image: Any = pyvips.Image.new_from_memory(contiguous.data, width, height, bands, "uchar")
    image = image.copy(interpretation="srgb")
    if icc_profile:
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", icc_profile)
    keep = "icc" if icc_profile else "none"
    if image_format == "png":
        data: bytes = image.pngsave_buffer(compression=PNG_COMPRESSION, filter="sub", keep=keep)
    else:
        data = image.webpsave_buffer(Q=quality, effort=WEBP_EFFORT, keep=keep)
    return data
