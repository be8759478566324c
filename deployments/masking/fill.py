"""The picture that a client wants to lie over faces."""

from dataclasses import replace
from typing import Final

from deployments.decoding.claim import claimed_pixels
from deployments.decoding.sniff import sniff
from deployments.errors import ChoiceError, ImageTooLargeError, UnsupportedFormatError
from deployments.transparency import flatten
from deployments.types import InputFormat, MaskParams, Patch, Picture
from models.errors import InferenceError

FORMATS: Final[tuple[InputFormat, ...]] = ("jpeg", "png", "webp", "gif")
"""Those whose header says how large they are."""

MOST_PIXELS: Final = 1_000_000


def with_patch(params: MaskParams, picture: Picture | None) -> MaskParams:
    """The same, with the decoded picture as its fill."""
    if picture is None:
        raise InferenceError("the decoder sent no picture to lay over faces")
    return replace(params, fill=Patch(flatten(picture.pixels)), fill_image=None)


def fill_picture(params: MaskParams) -> bytes | None:
    """The encoded picture of fill="image"; None for every other fill.

    Raises:
        ChoiceError: It is missing.
        UnsupportedFormatError, ImageTooLargeError, ImageDecodeError: By its header.
    """
    if params.fill != "image":
        return None
    if not params.fill_image:
        raise ChoiceError("fill=image needs a picture: send it as the part `fill_image` beside `image`")
    if sniff(params.fill_image) not in FORMATS:
        raise UnsupportedFormatError("the fill image is none of JPEG, PNG, WebP and GIF")
    try:
        claimed_pixels(params.fill_image, MOST_PIXELS)
    except ImageTooLargeError as error:
        raise ImageTooLargeError(f"the fill image has more than {MOST_PIXELS} pixels") from error
    return params.fill_image
