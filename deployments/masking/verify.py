"""Look at the masked picture again, and hide harder what is still found there."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

import numpy as np

from deployments.errors import ResidualFacesError
from deployments.masking.choice import chosen_faces
from deployments.types import EVERY_FACE, MaskParams, Region
from models.boxes import overlaps
from models.types import DetectParams, Float32Array, Uncertain

T = TypeVar("T")
LARGER: Final = 0.35
"""Share of a box that is added on every side when it is hidden again."""
SAME_FACE: Final = 0.3
"""IoU from which a face found again is one that the client wanted left as it is."""


@dataclass(frozen=True, slots=True)
class Verified(Generic[T]):
    """A masked picture in which nothing is found any more."""

    masked: T
    masking: MaskParams  # how it was made in the end
    residual_faces: int  # found in the first one
    look_ms: float  # all looking together


async def hide_until_unseen(
    hide: Callable[[MaskParams], Awaitable[T]],
    look: Callable[[T], Awaitable[Float32Array]],
    masking: MaskParams,
) -> Verified[T]:
    """Hide, look, and hide what is still found: larger, then larger and black.

    Args:
        hide: Makes the masked picture, from the original each time.
        look: Boxes (N, 4) of faces in it that must not be there.
        masking: Of the request.

    Raises:
        ResidualFacesError: Something is found even then.
    """
    look_ms = 0.0

    async def timed_look(masked: T) -> Float32Array:
        nonlocal look_ms
        began = time.perf_counter()
        found = await look(masked)
        look_ms += (time.perf_counter() - began) * 1e3
        return found

    masked = await hide(masking)
    again = await timed_look(masked)
    residual = len(again)
    for harder in (_larger, _black):
        if not len(again):
            break
        masking = harder(masking, again)
        masked = await hide(masking)
        again = await timed_look(masked)
    if len(again):
        raise ResidualFacesError(
            f"{len(again)} of the faces are still found after they were hidden harder twice: no picture is "
            "sent; hide more around them (padding, regions)"
        )
    return Verified(masked, masking, residual, look_ms)


def residual_faces(found: Float32Array, left: Float32Array, masking: MaskParams) -> Float32Array:
    """Faces of a masked picture that should not be found there.

    Args:
        found: (N, 4) in the masked picture.
        left: (M, 4) faces of the original that the client wanted left as they are.
        masking: Of the request.
    """
    residual = chosen_faces(found, replace(EVERY_FACE, min_face=masking.choice.min_face))
    if not len(residual) or not len(left):
        return residual
    _, iou = overlaps(residual, left)
    unexpected: Float32Array = residual[iou.max(axis=1) < SAME_FACE]
    return unexpected


def left_faces(found: Float32Array, hidden: Float32Array) -> Float32Array:
    """Those of `found` (N, 4) that are not in `hidden` (M, 4)."""
    is_hidden = (found[:, None] == hidden[None]).all(axis=2).any(axis=1)
    left: Float32Array = found[~is_hidden]
    return left


def second_look(params: DetectParams) -> DetectParams:
    """How to look at a masked picture: at every face, and at uncertain ones only where those are hidden."""
    uncertain: Uncertain = "mask" if params.uncertain == "mask" else "ignore"
    return replace(params, max_faces=0, uncertain=uncertain)


def _larger(masking: MaskParams, again: Float32Array) -> MaskParams:
    return replace(masking, regions=masking.regions + _enlarged(again))


def _black(masking: MaskParams, again: Float32Array) -> MaskParams:
    return replace(masking, black=masking.black + _enlarged(again))


def _enlarged(boxes: Float32Array) -> tuple[Region, ...]:
    sides = boxes[:, 2:] - boxes[:, :2]
    low = np.maximum(boxes[:, :2] - LARGER * sides, 0)
    high = boxes[:, 2:] + LARGER * sides
    return tuple((x, y, w, h) for x, y, w, h in np.concatenate([low, high - low], axis=1).tolist())
