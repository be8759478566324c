"""Labelled pictures, read once and kept in memory."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from models.errors import FaceError
from models.types import Float32Array

UInt8Array = npt.NDArray[np.uint8]

LONGEST_SIDE: Final = 640
"""Larger pictures are reduced: training crops them to 640 at most, and memory is finite."""
POINTS: Final = 5
LABELS: Final = "labels.json"


class TrainingDataError(FaceError):
    """A folder of labelled pictures cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    """A picture and what is in it, in its own pixels."""

    pixels: UInt8Array  # (H, W, 3) BGR, as OpenCV reads
    faces: Float32Array  # (F, 4) x1, y1, x2, y2
    ignored: Float32Array  # (I, 4) neither faces nor background
    landmarks: Float32Array  # (F, 5, 2); NaN where a face has none


@dataclass(slots=True)
class Pictures:
    """All pictures, and what was wrong with the others."""

    pictures: list[LabelledPicture] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)  # sentence -> how often
    examples: dict[str, str] = field(default_factory=dict)  # sentence -> one file

    @property
    def have_landmarks(self) -> bool:
        """Whether any face carries landmarks."""
        return any(np.isfinite(picture.landmarks).any() for picture in self.pictures)

    @property
    def face_count(self) -> int:
        """Faces in all pictures."""
        return sum(len(picture.faces) for picture in self.pictures)

    def note(self, problem: str, file: str) -> None:
        """Count something that is wrong with a picture or a label."""
        self.problems[problem] += 1
        self.examples.setdefault(problem, file)


def load_pictures(folders: list[Path]) -> Pictures:
    """Read every labelled picture of folders that hold a `labels.json` each.

    `labels.json` is a list of objects: `file`, `boxes_xywh` (x, y, width, height in pixels), and, if there
    are any, `landmarks` (for each box five x, y, or null) and `ignore_xywh`.

    Raises:
        TrainingDataError: A folder has no readable labels, or no picture is left.
    """
    result = Pictures()
    for folder in folders:
        for entry in _read_labels(folder / LABELS):
            _add(result, folder, entry)
    if result.face_count == 0:
        raise TrainingDataError(
            f"no labelled face was found in {', '.join(str(folder) for folder in folders)}"
            + "".join(f"; {problem}: {count}" for problem, count in result.problems.items())
        )
    return result


def _read_labels(file: Path) -> list[Any]:
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TrainingDataError(f"{file} is missing: each folder needs one") from None
    except (OSError, ValueError) as error:
        raise TrainingDataError(f"{file} cannot be read: {error}") from error
    if not isinstance(entries, list):
        raise TrainingDataError(f"{file} must be a list of objects with file and boxes_xywh")
    return entries


def _add(result: Pictures, folder: Path, entry: Any) -> None:  # noqa: ANN401 - anything may stand in a file
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
        result.note("label without a file", str(folder / LABELS))
        return
    file = folder / entry["file"]
    name = str(file)
    if not file.is_file():
        result.note("file missing", name)
        return
    try:
        boxes = np.asarray(entry.get("boxes_xywh") or [], np.float32).reshape(-1, 4)
        ignored = np.asarray(entry.get("ignore_xywh") or [], np.float32).reshape(-1, 4)
        landmarks = _landmarks(entry.get("landmarks"), len(boxes))
    except (ValueError, TypeError, OverflowError):
        result.note("boxes or landmarks are not lists of numbers", name)
        return
    pixels = _read_picture(file)
    if pixels is None:
        result.note("picture unreadable", name)
        return
    height, width = pixels.shape[:2]
    if (entry.get("width", width), entry.get("height", height)) != (width, height):
        result.note("picture is not of the width and height in its label", name)
        return
    boxes_are_numbers = np.isfinite(boxes).all(axis=1)
    for _ in range(int((~boxes_are_numbers).sum())):
        result.note("box with no number in it", name)
    faces, landmarks = _corners(boxes[boxes_are_numbers]), landmarks[boxes_are_numbers]
    ignored = _corners(ignored[np.isfinite(ignored).all(axis=1)])
    kept = _usable(faces, width, height, result, name)
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    result.pictures.append(
        LabelledPicture(
            pixels,
            np.clip(faces[kept], 0, [width, height, width, height]).astype(np.float32) * np.float32(scale),
            ignored * np.float32(scale),
            landmarks[kept] * np.float32(scale),
        )
    )


def _read_picture(file: Path) -> UInt8Array | None:
    """(H, W, 3) BGR, upright by its EXIF orientation as the service sees it; None if it cannot be read."""
    try:
        pixels = cv2.imread(str(file), cv2.IMREAD_COLOR)
    except cv2.error:  # larger than OpenCV reads
        return None
    return None if pixels is None else np.asarray(pixels, np.uint8)


def _corners(boxes: Float32Array) -> Float32Array:
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def _landmarks(given: Any, count: int) -> Float32Array:  # noqa: ANN401 - see _add
    if given is None:
        return np.full((count, POINTS, 2), np.nan, np.float32)
    blank = [[np.nan, np.nan]] * POINTS
    return np.asarray([blank if points is None else points for points in given], np.float32).reshape(
        count, POINTS, 2
    )


def _usable(
    faces: Float32Array, width: int, height: int, result: Pictures, name: str
) -> npt.NDArray[np.bool_]:
    sized = (faces[:, 2:] > faces[:, :2]).all(axis=1)
    within = sized & (faces[:, :2] < [width, height]).all(axis=1) & (faces[:, 2:] > 0).all(axis=1)
    for problem, bad in (
        ("box without width or height", ~sized),
        ("box outside its picture", sized & ~within),
    ):
        for _ in range(int(bad.sum())):
            result.note(problem, name)
    return np.asarray(within)
