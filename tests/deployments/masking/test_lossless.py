"""Coefficients are compared as libjpeg-turbo reads both files, pixels as another copy of it shows them."""

import io
import itertools
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms

from deployments.decoding.decode import decode
from deployments.decoding.exif import swaps_sides, turned_back
from deployments.decoding.jpeg_header import read_jpeg_header
from deployments.errors import LosslessRefusedError, MaskingError, UnencodableError, UnsupportedFormatError
from deployments.masking import layer, lossless, window
from deployments.masking.jpeg_frame import Frame, read_frame
from deployments.masking.lossless import check_lossless, mask_lossless
from deployments.masking.mask import mask
from deployments.masking.regions import expand_boxes
from deployments.masking.turbojpeg import look
from deployments.types import MaskMethod, MaskParams, Picture
from models.errors import FaceError
from models.types import UInt8Array
from tests.deployments.decoding.pictures import encode, exif_with_orientation, segment, with_segment

SOLID = MaskParams(method="solid", padding=0.0, lossless=True)
FACE = (210.4, 90.7, 301.2, 178.5)
"""In no way aligned to the blocks of any sampling."""
SAMPLINGS = ("444", "422", "420", "440", "411", "Gray")


def jpeg(pixels: UInt8Array, sampling: str = "420", **options: Any) -> bytes:
    """By Pillow, which knows progressive files, or by simplejpeg, which knows every sampling."""
    if sampling == "Gray":
        return encode(Image.fromarray(pixels).convert("L"), "JPEG", quality=90, **options)
    if sampling in {"440", "411"}:
        data: bytes = simplejpeg.encode_jpeg(
            np.ascontiguousarray(pixels), quality=90, colorsubsampling=sampling
        )
        return data
    return encode(pixels, "JPEG", quality=90, subsampling=f"4:{sampling[1]}:{sampling[2]}", **options)


def boxes(*corners: tuple[float, float, float, float]) -> NDArray[np.float32]:
    return np.array(corners, np.float32).reshape(-1, 4)


def hidden(data: bytes, *faces: tuple[float, float, float, float], params: MaskParams = SOLID) -> bytes:
    """The result for faces in a picture that is stored upright."""
    height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    result = mask_lossless(data, width, height, boxes(*faces), params)
    assert result.regions_masked == len(faces)
    return result.data


def coefficients(data: bytes) -> tuple[Frame, list[NDArray[np.int16]]]:
    """Of each component the blocks of the picture (rows, columns, 64), without what only fills up MCUs."""
    frame = read_frame(read_jpeg_header(data))
    planes: list[NDArray[np.int16]] = []
    look(data, frame, lambda shown, _: planes.extend(plane.copy() for plane in shown))
    return frame, [
        plane[
            : -(-frame.height * component.down // frame.mcu_height),
            : -(-frame.width * component.across // frame.mcu_width),
        ]
        for component, plane in zip(frame.components, planes, strict=True)
    ]


def blocks_under(frame: Frame, index: int, region: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which blocks of a component have a pixel in a region (x1, y1, x2, y2), pixel by pixel."""
    component = frame.components[index]
    wide, high = frame.mcu_width // component.across, frame.mcu_height // component.down
    x1, y1, x2, y2 = region
    under = np.zeros(shape[:2], bool)
    for y, x in itertools.product(range(y1, y2), range(x1, x2)):
        under[y // high, x // wide] = True
    return under


def upright_pixels(data: bytes) -> UInt8Array:
    picture = decode(data, max_pixels=10**8, keep_picture=True).picture
    assert picture is not None
    return picture.pixels


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("size", [(512, 512), (509, 333), (331, 199)])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_every_block_that_is_not_under_the_mask_keeps_its_coefficients(
    astronaut: UInt8Array, sampling: str, size: tuple[int, int], options: dict[str, Any]
) -> None:
    width, height = size
    data = jpeg(astronaut[:height, :width], sampling, **options)
    result = hidden(data, FACE)
    assert read_jpeg_header(result).frame_type == 0xC0
    frame, before = coefficients(data)
    frame_after, after = coefficients(result)
    assert frame_after == frame
    (region,) = expand_boxes(boxes(FACE), 0.0, width, height).tolist()
    for index, (old, new) in enumerate(zip(before, after, strict=True)):
        changed = (old != new).any(axis=2)
        under = blocks_under(frame, index, region, old.shape)
        assert not changed[~under].any()
        if index == 0:
            assert changed[under].mean() > 0.9  # black was black before, here and there


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("method", ["gaussian", "pixelate", "solid", "elliptical"])
def test_the_mask_is_the_ordinary_one_and_what_is_outside_stays(
    astronaut: UInt8Array, sampling: str, method: MaskMethod
) -> None:
    data = jpeg(astronaut, sampling)
    pixels = upright_pixels(data)
    params = MaskParams(method=method, strength=60, padding=0.1, format="png", has_floor=False)
    ordinary = mask(Picture(pixels.copy(), None), boxes(FACE), params).data
    expected = np.asarray(Image.open(io.BytesIO(ordinary))).astype(int)
    result = upright_pixels(hidden(data, FACE, params=replace(params, format="jpeg", lossless=True)))
    x1, y1, x2, y2 = expand_boxes(boxes(FACE), 0.1, 512, 512)[0]
    difference = np.abs(result.astype(int) - expected)
    assert difference[y1:y2, x1:x2].mean() < 3.0
    assert difference[y1 + 4 : y2 - 4, x1 + 4 : x2 - 4].mean() < 2.0
    away = np.ones((512, 512), bool)
    away[max(0, y1 - 36) : y2 + 36, max(0, x1 - 36) : x2 + 36] = False  # an MCU of 4:1:1, and a sample more
    assert not difference[away].any()
    assert difference.mean() < 1.0


@pytest.mark.parametrize("sampling", ["420", "Gray"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_is_kept_and_the_mask_lies_where_viewers_show_the_face(
    astronaut: UInt8Array, sampling: str, orientation: int
) -> None:
    picture = astronaut[:333, :509]
    stored = np.ascontiguousarray(turned_back(picture, orientation))
    data = jpeg(stored, sampling, exif=exif_with_orientation(orientation))
    result = mask_lossless(data, 509, 333, boxes(FACE), SOLID).data
    assert read_jpeg_header(result).width == (333 if swaps_sides(orientation) else 509)
    pixels, before = upright_pixels(result).astype(int), upright_pixels(data)
    assert pixels.shape == before.shape == (333, 509, 3)
    (region,) = expand_boxes(boxes(FACE), 0.0, 509, 333)
    x1, y1, x2, y2 = region
    assert pixels[y1 + 2 : y2 - 2, x1 + 2 : x2 - 2].max() < 24
    assert np.array_equal(pixels[:60], before[:60])
    assert np.array_equal(pixels[:, 340:], before[:, 340:])


def test_a_face_at_the_edge_is_hidden_in_what_the_picture_cuts_off(astronaut: UInt8Array) -> None:
    data = jpeg(astronaut[:171, :299], "420")  # the face goes on in the padding of its last blocks
    result = hidden(data, (200.0, 80.0, 299.0, 171.0))
    # Read as if the picture had whole MCUs: the size in the header is all that hides the padding.
    whole = re.sub(rb"(\xff\xc0..\x08)....", lambda m: m[1] + bytes((0, 176, 1, 48)), result, flags=re.DOTALL)
    pixels = upright_pixels(whole)
    assert pixels.shape == (176, 304, 3)
    assert pixels[90:, 210:].max() < 24


@pytest.mark.parametrize("corner", [(0, 0), (0, 440), (420, 0), (420, 440)])
def test_masks_reach_every_corner(astronaut: UInt8Array, corner: tuple[int, int]) -> None:
    y, x = corner
    pixels = upright_pixels(hidden(jpeg(astronaut[:501, :509]), (x, y, min(x + 80, 509), min(y + 81, 501))))
    assert pixels[y + 4 : y + 77, x + 4 : x + 65].max() < 24


def test_regions_that_share_blocks_are_all_hidden(astronaut: UInt8Array) -> None:
    faces = [(x * 31.0, y * 29.0, x * 31 + 27.0, y * 29 + 24.0) for x in range(16) for y in range(17)]
    pixels = upright_pixels(hidden(jpeg(astronaut, "422"), *faces))
    for x1, y1, x2, y2 in np.array(faces, int):
        assert pixels[y1 + 3 : y2 - 3, x1 + 3 : x2 - 3].max() < 32


def test_a_picture_without_faces_is_copied_and_a_copy_of_the_copy_is_the_same(astronaut: UInt8Array) -> None:
    data = jpeg(astronaut, progressive=True, comment=b"a secret")
    once = hidden(data)
    assert all(
        np.array_equal(a, b) for a, b in zip(coefficients(data)[1], coefficients(once)[1], strict=True)
    )
    assert hidden(once) == once


def markers(data: bytes) -> list[int]:
    """Every marker of a file of one scan."""
    found, position = [], 2
    while data[position + 1] != 0xDA:
        found.append(data[position + 1])
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return found


def test_nothing_of_the_input_but_pixels_and_orientation_leaves(astronaut: UInt8Array) -> None:
    thumbnail = jpeg(astronaut[:64, :64])
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "secret maker"
    exif.get_ifd(0x8825)[1] = "N"
    data = encode(astronaut, "JPEG", exif=exif.tobytes(), dpi=(314, 159), comment=b"secret words")
    data = with_segment(data, 0xE1, b"http://ns.adobe.com/xap/1.0/\0secret")
    data = with_segment(data, 0xE2, b"MPF\0secret")
    data = with_segment(data, 0xED, b"Photoshop 3.0\0secret" + thumbnail)
    data = data[:-2] + b"\x5e\xc2\xe7\xff\xd9" + thumbnail + b"secret"
    result = hidden(data, FACE)
    assert b"secret" not in result
    assert b"\x5e\xc2\xe7" not in result
    assert thumbnail[2:] not in result
    assert result.count(b"\xff\xd8") == 1
    assert set(markers(result)) <= {0xE0, 0xE1, 0xDB, 0xC0, 0xC4, 0xDD}
    with Image.open(io.BytesIO(result)) as image:
        assert dict(image.getexif()) == {0x0112: 6}
        assert image.info["jfif_density"] == (1, 1)


def test_an_icc_profile_is_kept_where_it_is_of_these_pixels(astronaut: UInt8Array) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    kept = hidden(jpeg(astronaut, icc_profile=profile + b"secret"), FACE)
    assert read_jpeg_header(kept).icc_profile == profile
    assert read_jpeg_header(hidden(jpeg(astronaut, icc_profile=b"no profile"), FACE)).icc_profile is None
    grey = profile[:16] + b"GRAY" + profile[20:]
    assert read_jpeg_header(hidden(jpeg(astronaut, icc_profile=grey), FACE)).icc_profile is None
    assert read_jpeg_header(hidden(jpeg(astronaut, "Gray", icc_profile=grey), FACE)).icc_profile == grey


def test_a_jpeg_of_rgb_planes_keeps_its_colours(astronaut: UInt8Array) -> None:
    data = encode(astronaut, "JPEG", keep_rgb=True, quality=95)
    result = upright_pixels(hidden(data, FACE, params=MaskParams(padding=0.0)))
    x1, y1, x2, y2 = expand_boxes(boxes(FACE), 0.0, 512, 512)[0]
    assert (
        np.abs(result[y1:y2, x1:x2].mean((0, 1)) - astronaut[y1:y2, x1:x2].mean((0, 1))).max() < 12
    )  # noise lies on blurs
    assert np.array_equal(result[:64], upright_pixels(data)[:64])


def patched(data: bytes, at: int, value: int) -> bytes:
    """With another byte in the frame: 1 is its marker, 4 the precision, 11 and 14 samplings, 12 a table."""
    start = data.index(b"\xff\xc0")
    return data[: start + at] + bytes([value]) + data[start + at + 1 :]


@pytest.mark.parametrize(
    ("at", "value", "reason"),
    [
        (1, 0xC9, "arithmetic"),
        (1, 0xC3, "neither baseline nor progressive"),
        (4, 12, "12 bits"),
        (14, 0x31, "sampled 2x2, 3x1, 1x1"),
        (11, 0x44, "sampled 4x4"),
        (12, 3, "quantisation tables"),
    ],
)
def test_a_jpeg_that_cannot_be_kept_is_refused_with_the_reason(
    astronaut: UInt8Array, at: int, value: int, reason: str
) -> None:
    data = patched(jpeg(astronaut), at, value)
    for refuse in (
        lambda: check_lossless(data, SOLID),
        lambda: mask_lossless(data, 512, 512, boxes(), SOLID),
    ):
        with pytest.raises(LosslessRefusedError, match=reason):
            refuse()


def test_cmyk_other_formats_and_other_outputs_are_refused(astronaut: UInt8Array) -> None:
    cmyk = encode(Image.fromarray(astronaut).convert("CMYK"), "JPEG")
    with pytest.raises(LosslessRefusedError, match="4 components"):
        check_lossless(cmyk, SOLID)
    with pytest.raises(LosslessRefusedError, match="the picture is png"):
        check_lossless(encode(astronaut, "PNG"), SOLID)
    with pytest.raises(UnsupportedFormatError):
        check_lossless(b"no picture at all", SOLID)
    with pytest.raises(UnencodableError, match="not webp"):
        check_lossless(jpeg(astronaut), MaskParams(format="webp", lossless=True))


def test_a_damaged_file_is_refused_however_little_is_missing(astronaut: UInt8Array) -> None:
    data = jpeg(astronaut)
    for damaged in (data[:-2], data[: len(data) // 2], data[:-400] + b"\xff\xd9", data[:-2] + bytes(99)):
        with pytest.raises(LosslessRefusedError, match="without faults"):
            mask_lossless(damaged, 512, 512, boxes(FACE), SOLID)


@settings(max_examples=150, deadline=None)
@given(
    places=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4
    ),
    progressive=st.booleans(),
)
def test_a_corrupt_file_gives_an_error_or_a_hidden_face(
    places: list[tuple[float, int]], progressive: bool
) -> None:
    ramp = np.add.outer(np.arange(200), np.arange(240)).astype(np.uint8)
    data = bytearray(jpeg(np.dstack([ramp, ramp.T.reshape(200, 240), 255 - ramp]), progressive=progressive))
    for share, value in places:
        data[int(share * len(data))] = value
    try:
        result = mask_lossless(bytes(data), 240, 200, boxes((60, 50, 140, 130)), SOLID).data
    except FaceError:
        return
    pixels = simplejpeg.decode_jpeg(result, colorspace="GRAY")[..., 0]
    assert pixels.shape == (200, 240)
    assert pixels[64:112, 80:128].max() < 64  # whole MCUs under the mask


def test_faces_of_another_picture_are_an_error(astronaut: UInt8Array) -> None:
    with pytest.raises(MaskingError, match="another picture"):
        mask_lossless(jpeg(astronaut), 512, 511, boxes(FACE), SOLID)
    turned = jpeg(astronaut[:400], exif=exif_with_orientation(6))
    with pytest.raises(MaskingError, match="another picture"):
        mask_lossless(turned, 512, 400, boxes(FACE), SOLID)
    with pytest.raises(MaskingError, match="finite"):
        mask_lossless(jpeg(astronaut), 512, 512, boxes((0, 0, float("nan"), 9)), SOLID)


def test_a_library_that_writes_something_else_than_what_it_was_given_is_an_error(
    astronaut: UInt8Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = hidden(jpeg(astronaut))  # so that it has the restart markers that are asked for

    def forgets(jpeg: bytes, frame: Frame, change: Any) -> bytes:
        look(jpeg, frame, change)
        return jpeg

    monkeypatch.setattr(lossless, "rewrite", forgets)
    with pytest.raises(MaskingError, match="not hidden"):
        hidden(data, FACE)


def test_an_error_on_the_way_into_the_blocks_ends_the_request(
    astronaut: UInt8Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(layer, "to_coefficients", fails)
    with pytest.raises(ZeroDivisionError):
        hidden(jpeg(astronaut), FACE)


def test_a_region_left_out_is_an_error(astronaut: UInt8Array, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lossless, "windows_of", lambda *_: [])
    with pytest.raises(MaskingError, match="left out"):
        hidden(jpeg(astronaut), FACE)


def test_tables_between_scans_are_an_error_where_they_change_the_picture(astronaut: UInt8Array) -> None:
    data = jpeg(astronaut[:64, :64], progressive=True)
    table = segment(0xDB, bytes([0]) + bytes([200]) * 64)
    second = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    with pytest.raises(FaceError):
        mask_lossless(data[:second] + table + data[second:], 64, 64, boxes((8, 8, 40, 40)), SOLID)


@settings(deadline=None)
@given(
    corners=st.lists(
        st.tuples(st.integers(0, 199), st.integers(0, 149), st.integers(1, 90), st.integers(1, 90)),
        max_size=12,
    )
)
def test_each_region_is_in_one_window_and_no_other_window_writes_its_blocks(
    corners: list[tuple[int, int, int, int]],
) -> None:
    frame = read_frame(read_jpeg_header(jpeg(np.zeros((150, 200, 3), np.uint8))))
    regions = np.array([(x, y, min(x + w, 200), min(y + h, 150)) for x, y, w, h in corners], np.int32)
    owner = -np.ones((frame.rows, frame.columns), int)
    windows = window.windows_of(regions.reshape(-1, 4), frame)
    assert sorted(member for w in windows for member in w.members) == list(range(len(corners)))
    for number, w in enumerate(windows):
        for member in w.members:
            x1, y1, x2, y2 = regions[member]
            assert w.left * 16 <= x1 < x2 <= w.right * 16
            assert w.top * 16 <= y1 < y2 <= w.bottom * 16
            covered = owner[y1 // 16 : -(-y2 // 16), x1 // 16 : -(-x2 // 16)]
            assert set(np.unique(covered)) <= {-1, number}
            covered[:] = number


def test_rings_in_one_another_cost_one_picture(astronaut: UInt8Array) -> None:
    frame = read_frame(read_jpeg_header(jpeg(astronaut)))
    edges = [(16 * k, 512 - 16 * k) for k in range(0, 12, 2)]
    rings = [
        side
        for low, high in edges
        for side in (
            (low, low, high, low + 4),
            (low, high - 4, high, high),
            (low, low, low + 4, high),
            (high - 4, low, high, high),
        )
    ]
    (whole,) = window.windows_of(np.array(rings, np.int32), frame)
    assert (whole.left, whole.top, whole.right, whole.bottom) == (0, 0, 32, 32)
    assert sorted(whole.members) == list(range(len(rings)))
    pixels = upright_pixels(hidden(jpeg(astronaut), *[tuple(map(float, ring)) for ring in rings]))  # type: ignore[misc]
    assert all(pixels[y1:y2, x1:x2].mean() < 40 for x1, y1, x2, y2 in rings)


def test_regions_in_black_are_rectangles_among_ellipses(astronaut: UInt8Array) -> None:
    params = MaskParams(method="elliptical", black=((300, 300, 90, 70),), lossless=True)
    result = mask_lossless(jpeg(astronaut), 512, 512, boxes(FACE), params)
    assert result.regions_masked == 2
    assert upright_pixels(result.data)[303:367, 303:387].max() < 24


@pytest.mark.parametrize("sampling", ["444", "420", "Gray"])
def test_blocks_outside_of_an_ellipse_stay(astronaut: UInt8Array, sampling: str) -> None:
    data = jpeg(astronaut, sampling)
    region = (96.0, 64.0, 416.0, 448.0)
    result = hidden(data, region, params=replace(SOLID, method="elliptical"))
    before, after = coefficients(data)[1], coefficients(result)[1]
    changed = (before[0] != after[0]).any(axis=2)
    assert not changed[:12, :16].any()
    assert changed[20:44, 24:40].mean() > 0.9
