"""ONNX Runtime: one session with the provider that was asked for, or an error that says why not."""

from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import onnxruntime as ort

from models.errors import InferenceError, ProviderError
from models.types import INPUT_SIZE, Float32Array, UInt8Array

Provider = Literal["auto", "cpu", "cuda"]
PROVIDER_NAMES: Final = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
WARM_UP_RUNS: Final = 2


class Session:
    """A prepared graph in memory. Runs one batch at a time; not for use by two threads at once."""

    def __init__(self, path: Path, provider: Provider, threads: int) -> None:
        """Load the graph and warm it up.

        Args:
            path: A graph made by `graph.prepare`.
            provider: `auto` takes CUDA when a device really answers, else the CPU.
            threads: Intra-op threads of the CPU provider, at least 1.

        Raises:
            ProviderError: The provider that was asked for is not the one that would run.
            InferenceError: The graph does not run.
        """
        self._session = _open(path, provider, threads)
        self.provider: str = self._session.get_providers()[0]
        self._input = self._session.get_inputs()[0].name
        self._outputs = [output.name for output in self._session.get_outputs()]
        self.output_count = len(self._outputs)
        for _ in range(WARM_UP_RUNS):
            self.run(np.zeros((1, INPUT_SIZE, INPUT_SIZE, 3), np.uint8))

    def run(self, pictures: UInt8Array) -> list[Float32Array]:
        """Raw outputs, each (N, A, C), for pictures (N, H, W, 3)."""
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


def _open(path: Path, provider: Provider, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    # Idle threads sleep instead of spinning: the cores belong to decoding and masking as well.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if provider in {"auto", "cuda"}:
        reason = _why_not_cuda()
        if not reason:
            names = [PROVIDER_NAMES["cuda"], PROVIDER_NAMES["cpu"]]
            session = ort.InferenceSession(path, options, providers=names)
            if session.get_providers()[0] == PROVIDER_NAMES["cuda"]:
                return session
            reason = "CUDA or cuDNN could not be loaded (install the extra `cuda`, or check the driver)"
        if provider == "cuda":
            raise ProviderError(f"FACE_API_PROVIDER=cuda, but {reason}")
    try:
        return ort.InferenceSession(path, options, providers=[PROVIDER_NAMES["cpu"]])
    except Exception as error:
        raise ProviderError(f"ONNX Runtime cannot load {path.name}: {error}") from error


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
