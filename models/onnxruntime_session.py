"""ONNX Runtime, fp32: on CUDA, and on the CPU as the reference that other sessions are measured against."""

import threading
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import onnxruntime as ort

from models.errors import InferenceError, ProviderError
from models.types import INPUT_SIZE, Float32Array, UInt8Array

PROVIDER_NAMES: Final = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
WARM_UP_RUNS: Final = 2


class OnnxRuntimeSession:
    """A `models.session.Session` that always runs the whole square: CUDA is quickest with one shape."""

    sides: tuple[int, ...] = (INPUT_SIZE,)
    workers: int = 2  # one prepares its batch while the other's runs

    def __init__(self, path: Path, device: Literal["cpu", "cuda"], threads: int) -> None:
        """Load the graph and warm it up.

        Args:
            path: A graph made by `graph.prepare`.
            device: Where it runs.
            threads: Intra-op threads on the CPU, at least 1.

        Raises:
            ProviderError: It cannot run there.
            InferenceError: The graph does not run.
        """
        self._session = _open(path, device, threads)
        self.provider: str = self._session.get_providers()[0]
        self._input = self._session.get_inputs()[0].name
        self._outputs = [output.name for output in self._session.get_outputs()]
        self.output_count = len(self._outputs)
        self._running = threading.Lock()
        for _ in range(WARM_UP_RUNS):
            self.run(np.zeros((1, INPUT_SIZE, INPUT_SIZE, 3), np.uint8))

    def make_ready(self, height: int, width: int) -> None:
        """Nothing to do: one session serves every shape."""

    def run(self, pictures: UInt8Array, *, is_alone: bool = True) -> list[Float32Array]:
        """Raw outputs, each (N, A, C), for pictures (N, H, W, 3); one batch after the other."""
        with self._running:
            return self._run(pictures)

    def _run(self, pictures: UInt8Array) -> list[Float32Array]:
        try:
            if self.provider == PROVIDER_NAMES["cuda"]:
                return self._run_bound(pictures)
            outputs: list[Float32Array] = self._session.run(self._outputs, {self._input: pictures})
        except Exception as error:
            raise InferenceError(f"the session failed: {error}") from error
        return outputs

    def _run_bound(self, pictures: UInt8Array) -> list[Float32Array]:
        binding: Any = self._session.io_binding()
        binding.bind_cpu_input(self._input, pictures)
        for name in self._outputs:
            binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(binding)
        outputs: list[Float32Array] = binding.copy_outputs_to_cpu()
        return outputs


def cpu_options(threads: int) -> ort.SessionOptions:
    """Options of any session of ours: quiet, and modest with the cores."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    # Idle threads sleep instead of spinning: the cores belong to decoding and masking as well.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _open(path: Path, device: Literal["cpu", "cuda"], threads: int) -> ort.InferenceSession:
    names = [PROVIDER_NAMES["cpu"]]
    if device == "cuda":
        if reason := _why_not_cuda():
            raise ProviderError(f"CUDA cannot be used: {reason}")
        names = [PROVIDER_NAMES["cuda"], *names]
    try:
        session = ort.InferenceSession(path, cpu_options(threads), providers=names)
    except Exception as error:
        raise ProviderError(f"ONNX Runtime cannot load {path.name}: {error}") from error
    if session.get_providers()[0] != names[0]:
        raise ProviderError(
            "CUDA cannot be used: CUDA or cuDNN could not be loaded (install the extra `cuda`, or check the "
            "driver)"
        )
    return session


def _why_not_cuda() -> str:
    """Why CUDA cannot be used here; empty when it may."""
    if PROVIDER_NAMES["cuda"] not in ort.get_available_providers():
        return "this onnxruntime has no CUDA provider (it needs onnxruntime-gpu)"
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        return "this machine shows no NVIDIA device"
    preload = getattr(ort, "preload_dlls", None)
    if preload is not None:
        preload()  # CUDA and cuDNN from their wheels, when installed
    return ""
