"""ONNX Runtime on the CPU, fp32: the reference that other sessions are measured against."""

import threading
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime as ort

from models.errors import InferenceError, ProviderError
from models.raw_faces import HeadOutputs
from models.types import INPUT_SIZE, UInt8Array

CPU: Final = "CPUExecutionProvider"
WARM_UP_RUNS: Final = 2


class OnnxRuntimeSession:
    """A `models.session.Session` that always runs the whole square, one batch after the other."""

    sides: tuple[int, ...] = (INPUT_SIZE,)
    workers: int = 2  # one prepares its batch while the other's runs
    rounding: float = 1e-3

    def __init__(self, path: Path, threads: int) -> None:
        """Load the graph and warm it up.

        Args:
            path: A graph made by `graph.prepare`.
            threads: Threads of a run, at least 1.

        Raises:
            ProviderError: The graph cannot be loaded.
            InferenceError: The graph does not run.
        """
        try:
            self._session = ort.InferenceSession(path, session_options(threads), providers=[CPU])
        except Exception as error:
            raise ProviderError(f"ONNX Runtime cannot load {path.name}: {error}") from error
        self.provider = CPU
        self.supports_landmarks = len(self._session.get_outputs()) == 9
        self._running = threading.Lock()
        for _ in range(WARM_UP_RUNS):
            self.run(np.zeros((1, INPUT_SIZE, INPUT_SIZE, 3), np.uint8))

    def make_ready(self, height: int, width: int) -> None:
        """Nothing to do: one session serves every shape."""

    def blank(self, count: int, height: int, width: int) -> UInt8Array:
        """Memory to fill for `run`."""
        return np.empty((count, height, width, 3), np.uint8)

    def run(self, pictures: UInt8Array, *, is_alone: bool = True) -> list[HeadOutputs]:
        """The answers for pictures (N, H, W, 3)."""
        try:
            with self._running:
                outputs = self._session.run(None, {"pictures": pictures})
        except Exception as error:
            raise InferenceError(f"the session failed: {error}") from error
        if any(len(output) != len(pictures) for output in outputs):
            raise InferenceError("the graph does not keep the pictures of a batch apart")
        return [HeadOutputs([output[row] for output in outputs]) for row in range(len(pictures))]


def session_options(threads: int) -> ort.SessionOptions:
    """Options of any ONNX Runtime session of ours: quiet, and modest with the cores."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    # Idle threads sleep instead of spinning: the cores belong to decoding and masking as well.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
