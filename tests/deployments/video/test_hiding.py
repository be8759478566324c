import av
import numpy as np
import pytest

from deployments.errors import MaskingError
from deployments.types import MaskMethod, MaskParams
from deployments.video.film import DEEP, PLAIN, Colours
from deployments.video.hiding import conversion_of, hide_faces
from deployments.video.reading import planes
from models.types import Float32Array, UInt8Array

BT709 = Colours(1, 1, 1, is_full_range=False)
FACE: Float32Array = np.array([[101, 51, 160, 120]], np.float32)


def noise(pixel_format: str, size: tuple[int, int] = (320, 200)) -> av.VideoFrame:
    rng = np.random.default_rng(0)
    frame = av.VideoFrame(*size, pixel_format)
    for plane in planes(frame):
        depth = 4 if pixel_format == DEEP else 1
        plane[:] = rng.integers(16 * depth, 236 * depth, plane.shape)
    return frame


@pytest.mark.parametrize("pixel_format", [PLAIN, DEEP])
@pytest.mark.parametrize("method", ["gaussian", "pixelate", "solid", "elliptical"])
def test_the_face_is_hidden_and_all_else_keeps_its_numbers(pixel_format: str, method: MaskMethod) -> None:
    frame = noise(pixel_format)
    before = [plane.copy() for plane in planes(frame)]
    hide_faces(frame, BT709, FACE, MaskParams(method))
    for scale, old, new in zip((1, 2, 2), before, planes(frame), strict=True):
        changed = np.argwhere(old != new)
        assert changed.min(axis=0)[0] * scale >= 40
        assert changed.min(axis=0)[1] * scale >= 92
        assert changed.max(axis=0)[0] * scale < 132
        assert changed.max(axis=0)[1] * scale < 170
        inside = np.s_[66 // scale : 106 // scale, 112 // scale : 150 // scale]
        assert new[inside].std() < 0.3 * old[inside].std()


@pytest.mark.parametrize("matrix", [0, 1, 2, 5, 6, 9])
@pytest.mark.parametrize("is_full_range", [True, False])
@pytest.mark.parametrize("pixel_format", [PLAIN, DEEP])
def test_black_is_black_in_every_matrix_range_and_depth(
    matrix: int, is_full_range: bool, pixel_format: str
) -> None:
    frame = noise(pixel_format)
    hide_faces(frame, Colours(matrix, 2, 2, is_full_range), FACE, MaskParams("solid"))
    depth = 4 if pixel_format == DEEP else 1
    black = (0 if is_full_range else 16 * depth, 128 * depth, 128 * depth)
    for scale, value, plane in zip((1, 2, 2), black, planes(frame), strict=True):
        assert (plane[60 // scale : 110 // scale, 110 // scale : 150 // scale] == value).all()


def test_colours_are_converted_as_bt709_says() -> None:
    conversion = conversion_of(BT709, 8)
    red = conversion.to_rgb @ np.array([63, 102, 240, 1], np.float32)  # 100 % red (ITU-R BT.709-6, item 3)
    assert red == pytest.approx([255, 0, 0], abs=1.5)
    assert conversion.to_planes @ np.array([255, 255, 255, 1], np.float32) == pytest.approx([235, 128, 128])


def test_a_region_at_the_edge_of_an_odd_picture_covers_the_column_that_was_added() -> None:
    frame = noise(PLAIN, (322, 202))
    edge: Float32Array = np.array([[290, 150, 321, 201]], np.float32)
    hide_faces(frame, BT709, edge, MaskParams("solid", padding=0.0))
    assert (planes(frame)[0][150:, 290:] == 16).all()


def test_a_box_that_is_not_finite_fails() -> None:
    boxes: Float32Array = np.array([[0, 0, np.nan, 10]], np.float32)
    with pytest.raises(MaskingError, match="finite"):
        hide_faces(noise(PLAIN), BT709, boxes, MaskParams())


def test_without_faces_nothing_changes() -> None:
    frame = noise(PLAIN)
    before: list[UInt8Array] = [np.asarray(plane.copy(), np.uint8) for plane in planes(frame)]
    hide_faces(frame, BT709, np.empty((0, 4), np.float32), MaskParams())
    assert all((a == b).all() for a, b in zip(before, planes(frame), strict=True))
