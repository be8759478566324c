"""What the decoding and masking stages exchange."""

from dataclasses import dataclass
from typing import Literal

from models.types import Canvas, UInt8Array

InputFormat = Literal["jpeg", "png", "webp", "bmp", "tiff", "gif", "heif"]
MaskMethod = Literal["gaussian", "pixelate", "solid", "elliptical"]
OutputFormat = Literal["jpeg", "png", "webp"]


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """Facts about an uploaded picture, upright."""

    format: InputFormat
    width: int  # pixels, after EXIF orientation
    height: int
    channels: int  # of the decoded picture: 3 RGB, 4 with alpha
    size_bytes: int  # of the upload


@dataclass(frozen=True, slots=True)
class Picture:
    """Every pixel of the upright picture, and the only metadata that may leave with it."""

    pixels: UInt8Array  # (H, W, 3) RGB or (H, W, 4) RGBA, alpha not premultiplied
    icc_profile: bytes | None  # an RGB profile, or None for sRGB


@dataclass(frozen=True, slots=True)
class Decoded:
    """Result of decoding one upload."""

    info: ImageInfo
    canvas: Canvas
    picture: Picture | None  # None when only detection was asked for
    decode_ms: float
    preprocess_ms: float  # scaling to the canvas


@dataclass(frozen=True, slots=True)
class MaskParams:
    """How faces are hidden and the result is written."""

    method: MaskMethod = "gaussian"
    strength: int = 199  # 1-999; kernel or block size in pixels for faces up to 200 px
    padding: float = 0.15  # 0.0-1.0, share of the box added on every side
    format: OutputFormat = "jpeg"
    quality: int = 95  # 1-100


@dataclass(frozen=True, slots=True)
class Masked:
    """A picture with its faces hidden, encoded."""

    data: bytes
    regions_masked: int
    mask_ms: float
    encode_ms: float
