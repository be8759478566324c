"""Hide the faces of a picture and encode it; there is no way out of here with a face unmasked."""

import time
from dataclasses import dataclass
from typing import Final

import numpy as np

from deployments.errors import MaskingError
from deployments.masking.effects import (
    filled,
    gaussian,
    patched,
    pixelate,
    premultiplied,
    straight,
    within_ellipse,
)
from deployments.masking.encode import encode
from deployments.masking.regions import expand_boxes, least_strengths, region_boxes, scaled_strengths
from deployments.types import Masked, MaskFill, MaskMethod, MaskParams, MaskShape, Patch, Picture
from models.types import Float32Array, Int32Array, UInt8Array

STYLES: Final[dict[MaskMethod, tuple[MaskShape, MaskFill]]] = {
    "gaussian": ("rect", "blur"),
    "pixelate": ("rect", "pixelate"),
    "solid": ("rect", "solid"),
    "elliptical": ("ellipse", "blur"),
}
BLACK: Final = (0, 0, 0)
IN_BLACK: Final = 0
"""In place of a strength: a black rectangle, whatever the style."""


def mask(picture: Picture, boxes: Float32Array, params: MaskParams) -> Masked:
    """Hide every face and every region asked for, and encode the result.

    The picture's pixels are written to when they can be: the caller hands them over.

    Args:
        picture: The upright picture.
        boxes: (N, 4) faces in source pixels, all of which are hidden.
        params: How, and which regions as well.

    Raises:
        MaskingError: A box is not finite, or a region was left out.
        UnencodableError: The output format cannot hold a picture of this size.
    """
    started = time.perf_counter()
    pixels = picture.pixels if picture.pixels.flags.writeable else picture.pixels.copy()
    masked, raised = hide_faces(pixels, boxes, params)
    if masked != len(boxes) + params.region_count:
        raise MaskingError("a face was left out")
    hidden_at = time.perf_counter()
    data = encode(pixels, picture.icc_profile, params.format, params.quality)
    ended = time.perf_counter()
    return Masked(data, masked, (hidden_at - started) * 1e3, (ended - hidden_at) * 1e3, raised)


@dataclass(frozen=True, slots=True)
class Areas:
    """What is to be hidden in one picture: its faces, then the regions asked for."""

    regions: Int32Array  # (N, 4) x1, y1, x2, y2 in whole pixels, x2 and y2 exclusive
    strengths: Int32Array  # (N,) kernel or block size in pixels, or IN_BLACK
    raised: int  # how many of them were raised to the floor


def hide_faces(pixels: UInt8Array, boxes: Float32Array, params: MaskParams) -> tuple[int, int]:
    """Write over faces and regions.

    Args:
        pixels: (H, W, 3 or 4), changed in place.
        boxes: (N, 4) faces in source pixels.
        params: How, and which regions as well.

    Returns:
        How many regions were hidden, and for how many of them the strength was raised to the floor.

    Raises:
        MaskingError: A box is not finite.
    """
    areas = areas_of(boxes, params, pixels.shape[1], pixels.shape[0])
    return hide_areas(pixels, areas.regions, areas.strengths, params), areas.raised


def areas_of(boxes: Float32Array, params: MaskParams, width: int, height: int) -> Areas:
    """What is to be hidden in a picture of this size; see `hide_faces`."""
    regions = expand_boxes(boxes, params.padding, width, height)
    if params.regions:
        asked = region_boxes(params.regions)
        regions = np.concatenate([regions, expand_boxes(asked, 0.0, width, height)])
        boxes = np.concatenate([boxes, asked])
    strengths, raised = final_strengths(boxes, params)
    if params.black:
        black = expand_boxes(region_boxes(params.black), 0.0, width, height)
        regions = np.concatenate([regions, black])
        strengths = np.concatenate([strengths, np.full(len(black), IN_BLACK, np.int32)])
    return Areas(regions, strengths, raised)


def hide_areas(pixels: UInt8Array, regions: Int32Array, strengths: Int32Array, params: MaskParams) -> int:
    """Write over regions (N, 4) of `pixels`, one after the other, each on what the earlier ones left.

    So an overlap is hidden at least once. Returns how many were hidden.
    """
    shape, fill = style(params)
    masked = 0
    for region, strength in zip(regions, strengths, strict=True):
        x1, y1, x2, y2 = (int(v) for v in region)
        crop = pixels[y1:y2, x1:x2]
        pixels[y1:y2, x1:x2] = (
            filled(crop, BLACK)
            if strength == IN_BLACK
            else hide(crop, shape, fill, int(strength), has_veil=params.has_floor)
        )
        masked += 1
    return masked


def reaches_corners(strength: int, params: MaskParams) -> bool:
    """Whether an area of that strength is hidden as a rectangle; else inside its ellipse only."""
    return strength == IN_BLACK or style(params)[0] == "rect"


def final_strengths(boxes: Float32Array, params: MaskParams) -> tuple[Int32Array, int]:
    """Kernel or block (N,) in pixels for each box, and for how many of them it was raised to the floor."""
    strengths = scaled_strengths(boxes, params.strength)
    if not params.has_floor:
        return strengths, 0
    least = least_strengths(boxes, *style(params))
    return np.maximum(strengths, least), int((least > strengths).sum())


def style(params: MaskParams) -> tuple[MaskShape, MaskFill]:
    """The method's shape and fill, or those that were asked for beside it."""
    shape, fill = STYLES[params.method]
    return params.shape or shape, fill if params.fill is None else params.fill


def hide(crop: UInt8Array, shape: MaskShape, fill: MaskFill, strength: int, *, has_veil: bool) -> UInt8Array:
    """New pixels for one area (h, w, 3 or 4), `strength` in pixels; outside an ellipse, those of the crop."""
    hidden = _hidden(crop, fill, strength, has_veil=has_veil)
    return hidden if shape == "rect" else within_ellipse(hidden, crop)


def _hidden(crop: UInt8Array, fill: MaskFill, strength: int, *, has_veil: bool) -> UInt8Array:
    if isinstance(fill, Patch):
        return patched(crop, fill.pixels)
    if not isinstance(fill, str):
        return filled(crop, fill)
    if fill == "solid":
        return filled(crop, BLACK)
    if fill == "image":
        raise MaskingError("there is no picture to lay over the faces")
    effect = gaussian if fill == "blur" else pixelate
    if crop.shape[2] == 3:
        return effect(crop, strength, has_veil=has_veil)
    return straight(effect(premultiplied(crop), strength, has_veil=has_veil))
