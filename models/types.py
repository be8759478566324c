"""Values that cross a process border: frozen dataclasses of arrays and scalars."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

UInt8Array = npt.NDArray[np.uint8]
Int16Array = npt.NDArray[np.int16]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

Detail = Literal["fast", "auto", "max"]
Uncertain = Literal["ignore", "mask", "report", "reject"]
PassKind = Literal["whole", "half", "tile"]

INPUT_SIZE = 640
"""Side of the square detector input, in pixels."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of a scaled picture, all in its pixels. Made by `models.tiling`."""

    left: int
    top: int
    width: int
    height: int
    whole_width: int  # of the scaled picture
    whole_height: int


@dataclass(frozen=True, slots=True)
class Canvas:
    """A picture, or a tile of it, scaled to fit the detector input, before the zero padding right or below.

    Made by the Decoder; read by the Detector. Scales are per axis because sizes are whole pixels.
    """

    pixels: UInt8Array  # (h, w, 3) RGB, 1 <= h, w <= INPUT_SIZE
    width: int  # of the upright source picture, pixels
    height: int
    det_scale: float  # scaled / original, as the API reports it
    tile: Tile | None = None  # None: the canvas shows the whole picture

    @property
    def scale_x(self) -> float:
        """Canvas pixels per source pixel, horizontally."""
        return float((self.tile.whole_width if self.tile else self.pixels.shape[1]) / self.width)

    @property
    def scale_y(self) -> float:
        """Canvas pixels per source pixel, vertically."""
        return float((self.tile.whole_height if self.tile else self.pixels.shape[0]) / self.height)


@dataclass(frozen=True, slots=True)
class DetectParams:
    """The request's own thresholds; requests that share a batch keep theirs."""

    confidence: float = 0.5  # 0.01-1.0
    nms_threshold: float = 0.4  # 0.01-1.0, IoU
    max_faces: int = 0  # 0 = no limit, else the highest scores
    detail: Detail = "fast"
    uncertain: Uncertain = "ignore"  # what becomes of faces under the confidence
    mask_confidence: float = 0.2  # 0.01-confidence: lowest score of an uncertain face

    @property
    def floor(self) -> float:
        """Lowest score that is looked for."""
        return self.confidence if self.uncertain == "ignore" else min(self.mask_confidence, self.confidence)

    @property
    def is_plain(self) -> bool:
        """Whether one pass and one threshold are all that is asked for."""
        return self.detail == "fast" and self.uncertain == "ignore"


@dataclass(frozen=True, slots=True)
class Detections:
    """Faces found in one picture. Made by `models.postprocess`; read by the Masker and the routers."""

    boxes: Float32Array  # (N, 4) x1, y1, x2, y2 in source pixels, clipped to the picture
    scores: Float32Array  # (N,) descending
    landmarks: Float32Array | None  # (N, 5, 2) source pixels; None without a landmark head
    candidates: int  # boxes over the confidence before NMS
    postprocess_ms: float  # thresholding and box decoding
    nms_ms: float

    def part(self, first: int, last: int) -> "Detections":
        """Some of the faces, with the same counts and times."""
        landmarks = None if self.landmarks is None else self.landmarks[first:last]
        return replace(
            self, boxes=self.boxes[first:last], scores=self.scores[first:last], landmarks=landmarks
        )
