"""PNG, WebP, TIFF, GIF and AVIF by libvips, and those JPEGs that libjpeg-turbo's own interface refuses."""

from typing import Any, Final, Literal

import numpy as np

from deployments.decoding.exif import UPRIGHT, known_orientation, read_orientation
from deployments.decoding.header import check_size, read_size
from deployments.decoding.icc import colour_space, rgb_profile, sound_profile
from deployments.decoding.raster import Raster
from deployments.errors import ImageDecodeError
from deployments.libvips import pyvips
from models.types import UInt8Array

VipsFormat = Literal["jpeg", "png", "webp", "tiff", "gif", "heif"]

_LOADERS: Final[dict[VipsFormat, str]] = {
    "jpeg": "jpegload_buffer",
    "png": "pngload_buffer",
    "webp": "webpload_buffer",
    "tiff": "tiffload_buffer",
    "gif": "gifload_buffer",
    "heif": "heifload_buffer",
}
"""Named one by one: libvips must never guess, or an SVG or PDF would find its renderer."""

_PAGED: Final = frozenset({"webp", "tiff", "gif"})  # without, libvips takes the primary picture of a HEIF
_RGB: Final = frozenset({"srgb", "rgb", "rgb16"})
_GREY: Final = frozenset({"b-w", "grey16"})


def decode_vips(data: bytes, image_format: VipsFormat, max_pixels: int) -> Raster:
    """Decode the first frame or page of a picture to 8-bit RGB or RGBA.

    Raises:
        ImageTooLargeError: More than `max_pixels`, judged from the header.
        ImageDecodeError: Truncated or corrupt.
    """
    claimed = read_size(data, image_format)
    if claimed is not None:
        check_size(*claimed, max_pixels)
    pages = {"page": 0, "n": 1} if image_format in _PAGED else {}
    # Tolerant libjpeg warnings reach this module only after they were judged harmless.
    fail_on = "truncated" if image_format == "jpeg" else "error"
    try:
        load = getattr(pyvips.Image, _LOADERS[image_format])
        image = load(data, access="sequential", fail_on=fail_on, **pages)
        check_size(image.width, image.height, max_pixels)
        orientation = _orientation(image, image_format)
        profile = _blob(image, "icc-profile-data")
        keeps_profile = image.interpretation in _RGB and rgb_profile(profile) is not None
        image = _to_rgb(image, sound_profile(profile))
        pixels = _pixels(image)
    except (pyvips.Error, UnicodeDecodeError) as error:
        if isinstance(error, UnicodeDecodeError):  # the text quotes the file; pyvips must not meet it again
            pyvips.vips_lib.vips_error_clear()
        # Its text may belong to another thread's picture: never shown.
        raise ImageDecodeError(f"the {image_format} is truncated or corrupt") from error
    return Raster(
        pixels=pixels,
        width=image.width,
        height=image.height,
        orientation=orientation,
        icc_profile=rgb_profile(profile) if keeps_profile else None,
    )


def _orientation(image: pyvips.Image, image_format: VipsFormat) -> int:
    """EXIF orientation still to be applied; libheif has already turned its pictures by `irot` and `imir`."""
    if image_format == "heif":
        return UPRIGHT
    if image_format == "tiff":
        is_known = image.get_typeof("orientation") != 0
        return known_orientation(int(image.get("orientation"))) if is_known else UPRIGHT
    return read_orientation(_blob(image, "exif-data"))


def _blob(image: pyvips.Image, field: str) -> bytes:
    """A binary metadata field, empty where there is none."""
    return bytes(image.get(field)) if image.get_typeof(field) != 0 else b""


def _to_rgb(image: pyvips.Image, profile: bytes | None) -> pyvips.Image:
    """Pipeline from whatever a file may hold to 8-bit RGB or RGBA in which RGB profiles still hold.

    Args:
        image: One to many bands of any type and interpretation.
        profile: The sound embedded profile, of any colour space.
    """
    space = colour_space(profile) if profile else b""
    if image.interpretation == "cmyk":
        image = image.icc_transform("srgb", embedded=True) if space == b"CMYK" else _naive_cmyk(image)
    elif image.interpretation in _GREY and space == b"GRAY":
        image = image.icc_transform("srgb", embedded=True)
    elif image.interpretation == "multiband":
        image = image.copy(interpretation="b-w" if image.bands < 3 else "srgb")
    if image.interpretation != "srgb":
        image = image.colourspace("srgb")
    if image.format != "uchar":
        image = image.cast("uchar")
    if image.bands > 4:  # TIFF: further channels than alpha
        image = image.extract_band(0, n=4)
    return image


def _naive_cmyk(image: pyvips.Image) -> pyvips.Image:
    """CMYK without a profile as browsers show it: each ink takes its share of the light.

    Args:
        image: 4 bands, or 5 with alpha; 0 is no ink.
    """
    if image.format == "ushort":
        image = image.msb()
    inks, alpha = image.extract_band(0, n=4), image.bands > 4
    light = inks.invert()
    rgb = (light.extract_band(0, n=3) * light[3] / 255).rint().cast("uchar")
    return (rgb.bandjoin(image[4]) if alpha else rgb).copy(interpretation="srgb")


def _pixels(image: pyvips.Image) -> UInt8Array:
    """Run the pipeline into memory this process owns.

    Returns:
        (h, w, 3) or (h, w, 4), contiguous and writable.
    """
    if image.bands not in {3, 4}:
        raise ImageDecodeError("the picture has no colour channels that can be shown")
    pixels: Any = np.frombuffer(image.write_to_memory(), np.uint8)
    return pixels.reshape(image.height, image.width, image.bands)  # type: ignore[no-any-return]
