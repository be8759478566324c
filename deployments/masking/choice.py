"""Which faces and regions of a picture a client wants hidden."""

from typing import Final

import numpy as np

from deployments.errors import ChoiceError
from deployments.masking.regions import check_boxes
from deployments.types import EVERY_FACE, FaceChoice, Region
from models.boxes import longer_sides
from models.types import Float32Array

MOST_COVERED: Final = 4.0
"""Regions may cover a picture so many times over: more would keep a thread busy past any deadline."""
ROUNDING: Final = 0.05
"""Answers give sizes to a tenth of a pixel: a face shown as 32.0 wide is not smaller than 32."""


def chosen_faces(boxes: Float32Array, choice: FaceChoice) -> Float32Array:
    """The faces that are to be hidden.

    Args:
        boxes: (N, 4) every face found, in the order in which answers number them.
        choice: Of the client.

    Returns:
        (M, 4) some of `boxes`, in their order.

    Raises:
        ChoiceError: Other faces were found than the client chose from, or it named one that is not there.
        MaskingError: The boxes are not finite, or no boxes.
    """
    if choice == EVERY_FACE:
        return boxes
    check_boxes(boxes)  # a NaN would count as too small
    count = len(boxes)
    if choice.face_count is not None and choice.face_count != count:
        raise ChoiceError(
            f"{count} faces are found in this picture with these parameters, not {choice.face_count}: the "
            "indices may mean other faces; detect again with the parameters that mask is asked with"
        )
    for index in (*choice.skip, *(choice.only or ())):
        if index >= count:
            raise ChoiceError(f"there is no face {index}: {count} are found, numbered from 0")
    is_hidden = np.full(count, choice.only is None)
    if choice.only is not None:
        is_hidden[list(choice.only)] = True
    is_hidden[list(choice.skip)] = False
    if choice.min_face:
        is_hidden &= longer_sides(boxes) > choice.min_face - ROUNDING
    hidden: Float32Array = boxes[is_hidden]
    return hidden


def check_regions(regions: tuple[Region, ...], width: int, height: int) -> None:
    """Refuse regions that cannot have been meant, or that would take too long.

    Args:
        regions: Of the client.
        width: Of the picture, pixels.
        height: Of the picture, pixels.

    Raises:
        ChoiceError: One lies outside the picture, or together they are too large.
    """
    covered = 0.0
    for index, (x, y, w, h) in enumerate(regions):
        if x >= width or y >= height:
            raise ChoiceError(f"regions[{index}] lies outside the picture, which is {width}x{height}")
        covered += (min(x + w, width) - x) * (min(y + h, height) - y)
    if covered > MOST_COVERED * width * height:
        raise ChoiceError(f"the regions cover the picture more than {MOST_COVERED:g} times over; send fewer")
