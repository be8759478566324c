"""Measures activation ranges: what `quantise` needs to know of a graph, from ordinary pictures."""

from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from models.activation_ranges import Ranges, conv_inputs, signatures
from models.errors import RangesError
from models.onnxruntime_session import session_options
from models.types import Canvas

STEP: Final = 32
"""Canvases are padded to a multiple of the coarsest stride."""


class Calibrator:
    """Runs pictures through a prepared graph in fp32 and keeps the extremes of each convolution's input."""

    def __init__(self, graph: Path, threads: int) -> None:
        model = onnx.load(graph)
        known = signatures(model.graph)
        self._names = conv_inputs(model.graph)
        self._signatures = [known[name] for name in self._names]
        shown = {item.name for item in model.graph.output}
        wanted = [name for name in self._names if name not in shown]
        model.graph.output.extend(helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in wanted)
        self._session = ort.InferenceSession(
            model.SerializeToString(), session_options(threads), providers=["CPUExecutionProvider"]
        )
        self._lowest = np.full(len(self._names), np.inf)
        self._highest = np.full(len(self._names), -np.inf)
        self._pictures = 0

    def add(self, canvas: Canvas) -> None:
        """Measure one picture."""
        height, width = canvas.pixels.shape[:2]
        blob = np.zeros((1, -(-height // STEP) * STEP, -(-width // STEP) * STEP, 3), np.uint8)
        blob[0, :height, :width] = canvas.pixels
        outputs = self._session.run(self._names, {"pictures": blob})
        self._lowest = np.minimum(self._lowest, [output.min() for output in outputs])
        self._highest = np.maximum(self._highest, [output.max() for output in outputs])
        self._pictures += 1

    def ranges(self, model: str) -> Ranges:
        """Each tensor's lowest and highest value in all pictures.

        Raises:
            RangesError: No picture was measured.
        """
        if not self._pictures:
            raise RangesError("no picture could be read: name a folder of JPEG, PNG or WebP files")
        ranges = {
            signature: (_six_digits(low), _six_digits(high))
            for signature, low, high in zip(self._signatures, self._lowest, self._highest, strict=True)
        }
        return Ranges(model, self._pictures, ranges)


def _six_digits(value: float) -> float:
    return float(f"{value:.6g}")
