"""What every codec of this stage hands over."""

from dataclasses import dataclass

from models.types import UInt8Array


@dataclass(frozen=True, slots=True)
class Raster:
    """Decoded pixels, still as they are stored in the file: not yet upright."""

    pixels: UInt8Array  # (h, w, 3) RGB or (h, w, 4) RGBA, alpha not premultiplied; smaller if DCT-scaled
    width: int  # of the stored picture at full size
    height: int
    orientation: int  # EXIF, 1-8
    icc_profile: bytes | None  # of RGB pixels; None is sRGB
