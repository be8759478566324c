"""What clients write of faces, regions and colours in a query or on a command line, and what it means."""

import re
from typing import Annotated, Final

from pydantic import Field, TypeAdapter, ValidationError

from deployments.errors import ChoiceError
from deployments.types import FaceChoice, MaskFill, Region

MOST_REGIONS: Final = 256
MOST_INDICES: Final = 1000
MOST_PIXELS: Final = 1_000_000
"""Longest side of any picture, and more."""

FILL_PATTERN: Final = r"^(blur|pixelate|solid|image|color:#?[0-9a-fA-F]{6})$"
FILL_FORM: Final = "must be blur, pixelate, solid, image or color:#rrggbb"
REGIONS_FORM: Final = (
    f"must be a JSON list of at most {MOST_REGIONS} regions [x, y, width, height] in pixels, x and y from 0 "
    "on, width and height over 0, such as [[10, 20, 80, 90]]"
)
INDICES_FORM: Final = (
    f"must each be a JSON list of at most {MOST_INDICES} face indices from 0 on, such as [0, 2]"
)
_FROM_0: Final = r"(0|[1-9]\d{0,5})(\.\d{1,3})?"
_OVER_0: Final = r"[1-9]\d{0,5}(\.\d{1,3})?"
_REGION: Final = rf"\[{_FROM_0}, ?{_FROM_0}, ?{_OVER_0}, ?{_OVER_0}\]"
REGIONS_PATTERN: Final = rf"^\[({_REGION}(, ?{_REGION}){{0,{MOST_REGIONS - 1}}})?\]$"
_INDEX: Final = r"(0|[1-9]\d{0,8})"
INDICES_PATTERN: Final = rf"^\[({_INDEX}(, ?{_INDEX}){{0,{MOST_INDICES - 1}}})?\]$"
"""Forms for the documentation. Any other JSON of the same meaning is accepted, too."""

_Offset = Annotated[float, Field(ge=0, le=MOST_PIXELS, allow_inf_nan=False)]
_Side = Annotated[float, Field(gt=0, le=MOST_PIXELS, allow_inf_nan=False)]
_Index = Annotated[int, Field(ge=0, strict=True)]
_REGIONS: Final = TypeAdapter(
    Annotated[tuple[tuple[_Offset, _Offset, _Side, _Side], ...], Field(max_length=MOST_REGIONS)]
)
_INDICES: Final = TypeAdapter(Annotated[tuple[_Index, ...], Field(max_length=MOST_INDICES)])


def parse_regions(text: str) -> tuple[Region, ...]:
    """Regions of a JSON list; ValueError says what one looks like."""
    try:
        return _REGIONS.validate_json(text, strict=True)
    except ValidationError as error:
        raise ValueError(f"regions {REGIONS_FORM}") from error


def parse_indices(text: str) -> tuple[int, ...]:
    """Face indices of a JSON list; ValueError says what one looks like."""
    try:
        return _INDICES.validate_json(text)
    except ValidationError as error:
        raise ValueError(f"skip and only {INDICES_FORM}") from error


def parse_fill(text: str) -> MaskFill:
    """A fill; ValueError says what there is. A `#` may be left out: unescaped, it would end the URL."""
    match text:
        case "blur" | "pixelate" | "solid" | "image":
            return text
    if re.match(FILL_PATTERN, text) is None:
        raise ValueError(f"fill {FILL_FORM}")
    red, green, blue = bytes.fromhex(text.removeprefix("color:").removeprefix("#"))
    return red, green, blue


def face_choice(skip: str | None, only: str | None, face_count: int | None, min_face: int) -> FaceChoice:
    """Which faces are hidden.

    Args:
        skip: JSON list of indices, or None.
        only: JSON list of indices, or None.
        face_count: Of the detection the indices are of.
        min_face: Pixels.

    Raises:
        ChoiceError: They do not go together.
        ValueError: A list is none.
    """
    if skip is not None and only is not None:
        raise ChoiceError("skip and only exclude each other: send one of them")
    if (skip is not None or only is not None) and face_count is None:
        raise ChoiceError(
            "skip and only need face_count, the number of faces of the detection that their indices are of: "
            "should this picture have another number now, it is refused instead of showing a wrong face"
        )
    return FaceChoice(
        () if skip is None else parse_indices(skip),
        None if only is None else parse_indices(only),
        face_count,
        min_face,
    )
