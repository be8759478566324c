"""Hide faces in the planes of a frame, with the effects of pictures."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from av.video.frame import VideoFrame

from deployments.errors import MaskingError
from deployments.masking.mask import areas_of, hide, style
from deployments.types import MaskParams
from deployments.video.film import DEEP, Colours
from deployments.video.reading import Plane, planes
from models.types import Float32Array, UInt8Array

LUMA_SHARES: Final = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}
"""Kr and Kb by code of the matrix (H.273, table 4): BT.709, BT.601 twice, BT.2020."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """Between numbers of planes and RGB of 8 bits."""

    to_rgb: Float32Array  # (3, 4) for Y, Cb, Cr, 1
    to_planes: Float32Array  # (3, 4) for R, G, B, 1
    highest: int  # number of a plane


def hide_faces(image: VideoFrame, colours: Colours, boxes: Float32Array, params: MaskParams) -> None:
    """Hide every box and region in a frame, in place; all else keeps its numbers.

    Args:
        image: PLAIN or DEEP, its own to write to.
        colours: What its numbers mean.
        boxes: (N, 4) faces in pixels, to be padded.
        params: How, and which regions as well.

    Raises:
        MaskingError: A box is not finite, or was left out.
    """
    luma, *chroma = planes(image)
    height, width = luma.shape
    conversion = conversion_of(colours, 10 if image.format.name == DEEP else 8)
    shape, fill = style(params)
    areas = areas_of(boxes, params, width, height)
    # A pixel of chroma covers 2x2: regions grow to whole ones.
    areas.regions[:, :2] -= areas.regions[:, :2] % 2
    areas.regions[:, 2:] += areas.regions[:, 2:] % 2
    hidden = 0
    for region, strength in zip(areas.regions, areas.strengths, strict=True):
        x1, y1, x2, y2 = (int(v) for v in region)
        crop = [luma[y1:y2, x1:x2], *(plane[y1 // 2 : y2 // 2, x1 // 2 : x2 // 2] for plane in chroma)]
        masked = hide(_to_rgb(crop, conversion), shape, fill, int(strength), has_veil=params.has_floor)
        for view, plane in zip(crop, _to_planes(masked, conversion), strict=True):
            np.copyto(view, plane.clip(0, conversion.highest).round(), casting="unsafe")
        hidden += 1
    if hidden != len(boxes) + params.region_count:
        raise MaskingError("a face was left out")


@lru_cache(maxsize=8)
def conversion_of(colours: Colours, bits: int) -> Conversion:
    """Of H.273, equations 20 to 46; where no matrix is named, BT.709, which only matters to itself."""
    red, blue = LUMA_SHARES.get(colours.matrix, LUMA_SHARES[1])
    green = 1 - red - blue
    from_rgb = np.array(
        [
            [red, green, blue],
            [-red / (2 - 2 * blue), -green / (2 - 2 * blue), 0.5],
            [0.5, -green / (2 - 2 * red), -blue / (2 - 2 * red)],
        ]
    )
    unit = 2.0 ** (bits - 8)
    spans = np.array([255, 255, 255] if colours.is_full_range else [219, 224, 224]) * unit
    zeros = np.array([0 if colours.is_full_range else 16, 128, 128]) * unit
    matrix = from_rgb * spans[:, None] / 255
    inverse = np.linalg.inv(matrix)
    return Conversion(
        to_rgb=np.column_stack([inverse, -inverse @ zeros]).astype(np.float32),
        to_planes=np.column_stack([matrix, zeros]).astype(np.float32),
        highest=(1 << bits) - 1,
    )


def _to_rgb(crop: list[Plane], conversion: Conversion) -> UInt8Array:
    """(h, w, 3) of a (h, w) luma and two (h/2, w/2) chroma planes."""
    size = crop[0].shape[1], crop[0].shape[0]
    luma, *chroma = (plane.astype(np.float32) for plane in crop)
    full = [luma, *(np.asarray(cv2.resize(p, size, interpolation=cv2.INTER_LINEAR)) for p in chroma)]
    pixels = cv2.transform(np.stack(full, axis=-1), conversion.to_rgb)
    return np.asarray(pixels).clip(0, 255).round().astype(np.uint8)


def _to_planes(pixels: UInt8Array, conversion: Conversion) -> list[Float32Array]:
    """The way back, not yet rounded."""
    values = np.asarray(cv2.transform(pixels.astype(np.float32), conversion.to_planes), np.float32)
    half = pixels.shape[1] // 2, pixels.shape[0] // 2
    chroma = np.asarray(cv2.resize(values[..., 1:], half, interpolation=cv2.INTER_AREA), np.float32)
    return [values[..., 0], chroma[..., 0], chroma[..., 1]]
