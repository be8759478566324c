"""Hide the faces of a picture and encode it; there is no way out of here with a face unmasked."""

import time

import numpy as np

from deployments.errors import MaskingError
from deployments.masking.effects import elliptical, gaussian, pixelate, premultiplied, solid, straight
from deployments.masking.encode import encode
from deployments.masking.regions import expand_boxes, scaled_strengths
from deployments.types import Masked, MaskMethod, MaskParams, Picture
from models.types import Float32Array, Int32Array, UInt8Array


def mask(picture: Picture, boxes: Float32Array, params: MaskParams) -> Masked:
    """Hide every face and encode the result.

    The picture's pixels are written to when they can be: the caller hands them over. Regions are worked on
    one after the other, each on what the earlier ones left, so that an overlap is hidden at least once.

    Args:
        picture: The upright picture.
        boxes: (N, 4) faces in source pixels.
        params: Method, strength, padding and output.

    Raises:
        MaskingError: A box is not finite, or a region was left out.
        UnencodableError: The output format cannot hold a picture of this size.
    """
    started = time.perf_counter()
    pixels = picture.pixels if picture.pixels.flags.writeable else picture.pixels.copy()
    height, width = pixels.shape[:2]
    regions = expand_boxes(boxes, params.padding, width, height)
    masked = hide_regions(pixels, regions, scaled_strengths(boxes, params.strength), params)
    if masked != len(boxes):
        raise MaskingError("a face was left out")
    hidden_at = time.perf_counter()
    data = encode(pixels, picture.icc_profile, params.format, params.quality)
    ended = time.perf_counter()
    return Masked(data, masked, (hidden_at - started) * 1e3, (ended - hidden_at) * 1e3)


def hide_regions(pixels: UInt8Array, regions: Int32Array, strengths: Int32Array, params: MaskParams) -> int:
    """Hide regions (N, 4) in `pixels` (h, w, 3 or 4), each with its own strength (N,); how many it did."""
    masked = 0
    for region, strength in zip(regions, strengths, strict=True):
        x1, y1, x2, y2 = (int(v) for v in region)
        hidden = hide(np.ascontiguousarray(pixels[y1:y2, x1:x2]), params.method, int(strength))
        pixels[y1:y2, x1:x2] = hidden
        masked += 1
    return masked


def hide(crop: UInt8Array, method: MaskMethod, strength: int) -> UInt8Array:
    """New pixels for one region (h, w, 3 or 4), `strength` in pixels."""
    if method == "solid":
        return solid(crop)
    effect = {"gaussian": gaussian, "pixelate": pixelate, "elliptical": elliptical}[method]
    if crop.shape[2] == 3:
        return effect(crop, strength)
    return straight(effect(premultiplied(crop), strength))
