from typing import Any

import cv2
import numpy as np
import pytest

from loadtests.torture.coded import Coded, make_coded, read_number, wrong_with_detection, wrong_with_mask


def pixels_of(coded: Coded) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(coded.data, np.uint8), cv2.IMREAD_COLOR)


def masked(coded: Coded, extension: str = ".jpg") -> bytes:
    """As the service would answer: the head painted over."""
    pixels = pixels_of(coded)
    pixels[coded.top : coded.top + coded.side, coded.left : coded.left + coded.side] = 0
    return cv2.imencode(extension, pixels)[1].tobytes()


def answer(coded: Coded, **changes: Any) -> dict[str, Any]:
    face = {"center": {"x": coded.left + coded.side / 2, "y": coded.top + coded.side / 2}}
    image = {"width": coded.width, "height": coded.height, "size_bytes": len(coded.data)}
    whole = {
        "image": image,
        "processing": {"confidence_threshold": coded.confidence},
        "detections": [face],
    }
    return {**whole, **changes}


@pytest.mark.parametrize("number", [0, 1, 777, 2**20 - 1])
def test_a_number_is_read_from_its_picture(number: int) -> None:
    assert read_number(pixels_of(make_coded(number))) == number


@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp"])
def test_its_own_masked_picture_is_accepted_in_every_format(extension: str) -> None:
    coded = make_coded(5)
    assert wrong_with_mask(coded, masked(coded, extension)) is None


def test_a_mask_may_lie_over_the_number_and_over_nothing_else_of_it() -> None:
    coded = make_coded(2**20 - 1)
    pixels = cv2.imdecode(np.frombuffer(masked(coded), np.uint8), cv2.IMREAD_COLOR)
    pixels[-40:, 40:140] = 0
    assert wrong_with_mask(coded, cv2.imencode(".jpg", pixels)[1].tobytes()) is None
    pixels[-40:, 40:140] = 90  # another number's dark blocks would be black
    assert wrong_with_mask(coded, cv2.imencode(".jpg", pixels)[1].tobytes()) is not None


def test_no_other_picture_is_taken_for_it() -> None:
    pictures = [make_coded(number) for number in range(40)]
    for one in pictures:
        for other in pictures:
            if one is not other:
                assert wrong_with_mask(one, masked(other)) is not None
                assert wrong_with_detection(one, answer(other)) is not None


def test_a_picture_of_its_size_and_number_with_other_pixels_is_not_taken_for_it() -> None:
    coded = make_coded(5)
    pixels = cv2.imdecode(np.frombuffer(masked(coded), np.uint8), cv2.IMREAD_COLOR)
    pixels[: coded.height - 20] = pixels[: coded.height - 20, ::-1]
    _, data = cv2.imencode(".png", pixels)
    assert wrong_with_mask(coded, data.tobytes()) is not None


def test_a_face_that_shows_is_seen() -> None:
    coded = make_coded(5)
    assert wrong_with_mask(coded, coded.data) == "the face is not hidden"


def test_what_is_no_picture_is_said() -> None:
    assert wrong_with_mask(make_coded(5), b'{"detail": "no"}') == "no picture"


def test_its_own_detection_is_accepted_and_a_missed_face_is_not() -> None:
    coded = make_coded(5)
    assert wrong_with_detection(coded, answer(coded)) is None
    assert wrong_with_detection(coded, answer(coded, detections=[])) is not None
    other = {"confidence_threshold": coded.confidence + 0.0001}
    assert wrong_with_detection(coded, answer(coded, processing=other)) is not None
