"""Training samples: crops of the pictures, changed at random.

Sample redistribution (arXiv 2105.04714): square crops of 0.3 to 2.0 times the shorter side, so that every
stride sees faces of its size; for more small ones, four pictures in one (mosaic, as in arXiv 2004.10934).
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from models.training.anchors import Anchors, IntArray, assign
from models.training.pictures import POINTS, LabelledPicture, UInt8Array
from models.types import Float32Array

CROP_SCALES: Final = (0.3, 0.45, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
CROP_TRIES: Final = 20
MOSAIC_SHARE: Final = 0.25
SMALLEST_FACE: Final = 5.0
"""Faces with a shorter side of fewer pixels are neither learnt nor counted as background."""
IGNORED: Final = -2
BACKGROUND: Final = -1
PADDING: Final = 0
"""What is outside the picture: black, as the letterbox fills."""
MIRRORED: Final = (1, 0, 2, 4, 3)
"""Order of the landmarks in a flipped picture: left and right change places."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One input and its targets."""

    pixels: UInt8Array  # (S, S, 3) RGB
    owner: IntArray  # (A,) index of the face an anchor shall find, BACKGROUND or IGNORED
    faces: Float32Array  # (F, 4) x1, y1, x2, y2
    landmarks: Float32Array  # (F, 5, 2); NaN where unknown


@dataclass(frozen=True, slots=True)
class _Crop:
    pixels: UInt8Array
    faces: Float32Array
    ignored: Float32Array
    landmarks: Float32Array


def make_sample(
    pictures: list[LabelledPicture], index: int, size: int, anchors: Anchors, rng: np.random.Generator
) -> Sample:
    """A sample of one picture, or of it and three others.

    Args:
        pictures: All of them.
        index: Of the picture that is due.
        size: Side of the sample in pixels.
        anchors: Of a canvas of this size.
        rng: Source of every random choice.
    """
    if rng.random() < MOSAIC_SHARE:
        others = rng.integers(len(pictures), size=3)
        crop = _mosaic([pictures[i] for i in (index, *others)], size, rng)
    else:
        crop = _crop(pictures[index], size, rng)
    if rng.random() < 0.5:
        crop = _flipped(crop, size)
    pixels = _blurred(_recoloured(crop.pixels, rng), rng)
    large = (crop.faces[:, 2:] - crop.faces[:, :2]).min(axis=1, initial=np.inf) >= SMALLEST_FACE
    faces = np.ascontiguousarray(crop.faces[large])
    owner = assign(anchors, faces)
    ignored = np.concatenate([crop.ignored, crop.faces[~large]])
    owner[(owner == BACKGROUND) & _within(anchors, ignored)] = IGNORED
    return Sample(np.ascontiguousarray(pixels[:, :, ::-1]), owner, faces, crop.landmarks[large])


def _crop(picture: LabelledPicture, size: int, rng: np.random.Generator) -> _Crop:
    """A square with the middle of at least one face in it, if the picture has any."""
    height, width = picture.pixels.shape[:2]
    middles = (picture.faces[:, :2] + picture.faces[:, 2:]) / 2
    for _ in range(CROP_TRIES):
        side = max(1, round(min(height, width) * float(rng.choice(CROP_SCALES))))
        left, top = (_offset(length, side, rng) for length in (width, height))
        inside = ((middles >= [left, top]) & (middles < [left + side, top + side])).all(axis=1)
        if inside.any() or len(middles) == 0:
            break
    scale = size / side
    matrix = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]], np.float64)
    # The part that is seen, then scaled: an area mean when it shrinks, as the service does.
    x1, y1, x2, y2 = max(0, left), max(0, top), min(width, left + side), min(height, top + side)
    part = picture.pixels[y1:y2, x1:x2]
    target = np.full((size, size, 3), PADDING, np.uint8)
    a, b = round((x1 - left) * scale), round((y1 - top) * scale)
    w, h = min(size - a, max(1, round((x2 - x1) * scale))), min(size - b, max(1, round((y2 - y1) * scale)))
    how = cv2.INTER_AREA if scale < 1 and rng.random() < 0.5 else cv2.INTER_LINEAR
    target[b : b + h, a : a + w] = cv2.resize(part, (w, h), interpolation=how)
    faces = _moved(picture.faces[inside].reshape(-1, 2), matrix).reshape(-1, 4)
    # Faces whose middle is outside but that reach into the crop are not background.
    partly = _moved(picture.faces[~inside].reshape(-1, 2), matrix).reshape(-1, 4)
    ignored = _moved(picture.ignored.reshape(-1, 2), matrix).reshape(-1, 4)
    landmarks = _moved(picture.landmarks[inside].reshape(-1, 2), matrix).reshape(-1, POINTS, 2)
    return _Crop(target, np.clip(faces, 0, size), np.concatenate([ignored, partly]), landmarks)


def _offset(length: int, side: int, rng: np.random.Generator) -> int:
    low, high = sorted((0, length - side))
    return int(rng.integers(low, high + 1))


def _moved(points: Float32Array, matrix: npt.NDArray[np.float64]) -> Float32Array:
    result: Float32Array = (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    return result


def _mosaic(pictures: list[LabelledPicture], size: int, rng: np.random.Generator) -> _Crop:
    half = size // 2
    pixels = np.empty((size, size, 3), np.uint8)
    parts = []
    for picture, (x, y) in zip(pictures, ((0, 0), (half, 0), (0, half), (half, half)), strict=True):
        part = _crop(picture, half, rng)
        pixels[y : y + half, x : x + half] = part.pixels
        shift = np.array([x, y], np.float32)
        ignored = np.clip(part.ignored, 0, half) + np.tile(shift, 2)
        parts.append(_Crop(part.pixels, part.faces + np.tile(shift, 2), ignored, part.landmarks + shift))
    return _Crop(
        pixels,
        np.concatenate([part.faces for part in parts]),
        np.concatenate([part.ignored for part in parts]),
        np.concatenate([part.landmarks for part in parts]),
    )


def _flipped(crop: _Crop, size: int) -> _Crop:
    def boxes(given: Float32Array) -> Float32Array:
        return np.stack([size - given[:, 2], given[:, 1], size - given[:, 0], given[:, 3]], axis=1)

    landmarks = crop.landmarks[:, MIRRORED, :].copy()
    landmarks[:, :, 0] = size - landmarks[:, :, 0]
    return _Crop(crop.pixels[:, ::-1], boxes(crop.faces), boxes(crop.ignored), landmarks)


def _recoloured(pixels: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """Brightness, contrast, saturation and tint; grey now and then."""
    gain = rng.uniform(0.6, 1.4)
    tint = rng.uniform(0.85, 1.15, 3) if rng.random() < 0.5 else np.ones(3)
    shift = rng.uniform(-32, 32)
    grey_share = 1.0 if rng.random() < 0.1 else max(0.0, float(rng.uniform(-0.5, 0.6)))
    grey_of = np.array([0.114, 0.587, 0.299])
    matrix = (1 - grey_share) * np.diag(tint) + grey_share * np.tile(grey_of, (3, 1))
    offset = np.full((3, 1), 127.5 * (1 - gain) + shift)
    return np.asarray(cv2.transform(pixels, np.hstack([matrix * gain, offset])), np.uint8)


def _blurred(pixels: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """Lens blur, or JPEG's blocks, in a part of the samples."""
    chance = rng.random()
    if chance < 0.1:
        return np.asarray(cv2.GaussianBlur(pixels, (0, 0), float(rng.uniform(0.5, 1.5))), np.uint8)
    if chance < 0.25:
        _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 90))])
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return pixels


def _within(anchors: Anchors, boxes: Float32Array) -> npt.NDArray[np.bool_]:
    """(A,) whether an anchor's centre lies in any of the boxes, grown by half a stride."""
    result = np.zeros(len(anchors.centres), np.bool_)
    margin = anchors.strides / 2
    x, y = anchors.centres.T
    for x1, y1, x2, y2 in boxes:
        result |= (x >= x1 - margin) & (x <= x2 + margin) & (y >= y1 - margin) & (y <= y2 + margin)
    return result
