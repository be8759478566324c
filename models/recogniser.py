"""A face recogniser of the ArcFace kind: the judge of whether a masked face is still known."""

from pathlib import Path
from typing import Final

import cv2
import numpy as np
import onnxruntime as ort

from models.errors import ModelError
from models.onnxruntime_session import CPU, session_options
from models.types import Float32Array, UInt8Array

SIDE: Final = 112
TEMPLATE: Final = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]],
    np.float64,
)
"""Where eyes, nose and corners of the mouth lie in a picture of SIDE pixels (Deng et al., ArcFace)."""


class RecogniserError(ModelError):
    """The file is no recogniser of this kind."""


class Recogniser:
    """Turns aligned faces into vectors whose cosine says how alike two faces are."""

    def __init__(self, path: Path, threads: int) -> None:
        """Load the graph and try it out.

        Args:
            path: ONNX: (1, 3, 112, 112) RGB, (x - 127.5) / 127.5, in; one vector out.
            threads: Threads of a run, at least 1.

        Raises:
            RecogniserError: It is another kind of graph.
        """
        try:
            self._session = ort.InferenceSession(path, session_options(threads), providers=[CPU])
            self._input = self._session.get_inputs()[0].name
            self.vector(np.zeros((SIDE, SIDE, 3), np.uint8))
        except Exception as error:
            raise RecogniserError(
                f"{path.name} is no recogniser with an input of 1x3x{SIDE}x{SIDE}: {error}"
            ) from error

    def vector(self, face: UInt8Array) -> Float32Array:
        """The vector (D,), of length 1, of an aligned face (SIDE, SIDE, 3) RGB."""
        blob = ((face.astype(np.float32) - 127.5) / 127.5).transpose(2, 0, 1)[None]
        found = np.asarray(self._session.run(None, {self._input: blob})[0], np.float32).reshape(-1)
        vector: Float32Array = found / max(float(np.linalg.norm(found)), 1e-12)
        return vector


def aligned(pixels: UInt8Array, landmarks: Float32Array) -> UInt8Array:
    """A face turned and scaled so that its landmarks lie on the template.

    Args:
        pixels: (H, W, 3) RGB.
        landmarks: (5, 2) in pixels of the picture, in the order of the template.

    Returns:
        (SIDE, SIDE, 3) RGB.
    """
    warped = cv2.warpAffine(
        pixels, similarity(landmarks), (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(warped, np.uint8)


def similarity(landmarks: Float32Array) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The turn, scale and shift (2, 3) that bring landmarks (5, 2) closest to the template.

    Least squares over complex numbers: a point z goes to a z + b, where a turns and scales.
    """
    source = landmarks.astype(np.float64) @ np.array([1, 1j])
    target = TEMPLATE @ np.array([1, 1j])
    centred = source - source.mean()
    a = (centred.conj() @ (target - target.mean())) / max((np.abs(centred) ** 2).sum(), 1e-12)
    b = target.mean() - a * source.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])
