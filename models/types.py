"""Values that cross a process border: frozen dataclasses of arrays and scalars."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

UInt8Array = npt.NDArray[np.uint8]
Int16Array = npt.NDArray[np.int16]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]

INPUT_SIZE = 640
"""Side of the square detector input, in pixels."""


@dataclass(frozen=True, slots=True)
class Canvas:
    """A picture scaled to fit the detector input, before the zero padding at its right or bottom.

    Made by the Decoder; read by the Detector. Scales are per axis because sizes are whole pixels.
    """

    pixels: UInt8Array  # (h, w, 3) RGB, 1 <= h, w <= INPUT_SIZE
    width: int  # of the upright source picture, pixels
    height: int
    det_scale: float  # scaled / original, as the API reports it

    @property
    def scale_x(self) -> float:
        """Canvas pixels per source pixel, horizontally."""
        return float(self.pixels.shape[1] / self.width)

    @property
    def scale_y(self) -> float:
        """Canvas pixels per source pixel, vertically."""
        return float(self.pixels.shape[0] / self.height)


@dataclass(frozen=True, slots=True)
class DetectParams:
    """The request's own thresholds; requests that share a batch keep theirs."""

    confidence: float = 0.5  # 0.01-1.0
    nms_threshold: float = 0.4  # 0.01-1.0, IoU
    max_faces: int = 0  # 0 = no limit, else the highest scores


@dataclass(frozen=True, slots=True)
class Detections:
    """Faces found in one picture. Made by `models.postprocess`; read by the Masker and the routers."""

    boxes: Float32Array  # (N, 4) x1, y1, x2, y2 in source pixels, clipped to the picture
    scores: Float32Array  # (N,) descending
    landmarks: Float32Array | None  # (N, 5, 2) source pixels; None without a landmark head
    candidates: int  # boxes over the confidence before NMS
    postprocess_ms: float  # thresholding and box decoding
    nms_ms: float
