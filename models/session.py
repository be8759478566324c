"""Which engine runs the graph: the one that was asked for, or the quickest this machine has."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, Protocol

from models.activation_ranges import find_ranges
from models.errors import PrecisionError, ProviderError
from models.nvidia import has_device, open_cuda, open_tensorrt
from models.onnxruntime_session import OnnxRuntimeSession
from models.openvino_session import ComputedPrecision, OpenVinoSession, multiplies_int8_exactly
from models.quantise import quantise
from models.raw_faces import RawFaces
from models.types import UInt8Array

Provider = Literal["auto", "cpu", "openvino", "cuda", "tensorrt"]
Precision = Literal["auto", "fp32", "fp16", "bf16", "int8"]

PRECISIONS: Final[dict[Provider, tuple[Precision, ...]]] = {
    "cpu": ("fp32",),
    "openvino": ("fp32", "bf16", "int8"),
    "cuda": ("fp16", "fp32"),
    "tensorrt": ("fp16", "fp32"),
}

logger = logging.getLogger("face_api.models")


class Session(Protocol):
    """A prepared graph in memory, for several threads at once."""

    provider: str  # as readiness and the API report it
    supports_landmarks: bool
    workers: int  # threads that keep it busy
    rounding: float
    """Most that a picture's answer in a batch differs from the same picture's alone; see RawFaces."""
    sides: tuple[int, ...]
    """Heights and widths of pictures that `run` takes, rising; the last is INPUT_SIZE."""

    def make_ready(self, height: int, width: int) -> None:
        """Do now what would delay the first `run` of this shape."""
        ...

    def blank(self, count: int, height: int, width: int) -> UInt8Array:
        """Memory (count, height, width, 3) from which `run` is quickest, with anything in it.

        It is the calling thread's until that asks again.
        """
        ...

    def run(self, pictures: UInt8Array, *, is_alone: bool = True) -> Sequence[RawFaces]:
        """The answer for each of the pictures (N, H, W, 3) RGB; they may lie in any memory.

        `is_alone`: nobody else runs, so every core may help; the answer is the same, to rounding.

        Raises:
            InferenceError: It failed.
        """
        ...


def open_session(
    graph: Path,
    provider: Provider,
    threads: int,
    precision: Precision = "auto",
    ranges_dirs: Sequence[Path] = (),
) -> Session:
    """Load a prepared graph.

    Args:
        graph: Made by `graph.prepare`.
        provider: `auto` takes CUDA when a device really answers, else OpenVINO, else ONNX Runtime's CPU; only
            those that can compute in `precision`. TensorRT must be named: its first start takes long.
        threads: Threads of a run on the CPU, at least 1.
        precision: `auto` is fp16 on GPUs; on OpenVINO INT8 with activation ranges and a CPU that is exact in
            it, else bf16 or what the CPU has instead.
        ranges_dirs: Looked through for activation ranges, before those that are shipped.

    Raises:
        ProviderError: The provider that was asked for cannot run.
        PrecisionError: The precision that was asked for cannot be had.
        RangesError: A file in `ranges_dirs` holds no ranges.
    """
    if provider != "auto" and precision not in {"auto", *PRECISIONS[provider]}:
        able = " or ".join(name for name, known in PRECISIONS.items() if precision in known)
        raise PrecisionError(
            f"FACE_API_PRECISION={precision} needs FACE_API_PROVIDER={able}; "
            f"{provider} computes in {' or '.join(PRECISIONS[provider])}"
        )
    needs_openvino, needs_gpu = precision in {"int8", "bf16"}, precision == "fp16"
    if provider in {"cuda", "tensorrt"} or (provider == "auto" and not needs_openvino):
        opened = open_tensorrt if provider == "tensorrt" else open_cuda
        try:
            return opened(graph, "fp32" if precision == "fp32" else "fp16")
        except ProviderError as error:
            if provider != "auto":
                raise ProviderError(f"FACE_API_PROVIDER={provider}, but {error}") from error
            if needs_gpu:
                raise ProviderError(f"FACE_API_PRECISION=fp16, but {error}") from error
            if has_device():
                logger.warning("%s; the CPU runs instead, and slower", error)
    if provider != "cpu":
        try:
            return _open_openvino(graph, threads, precision, ranges_dirs)
        except ProviderError as error:
            if provider == "openvino" or needs_openvino:
                raise
            logger.warning("%s; ONNX Runtime runs instead, and slower", error)
    return OnnxRuntimeSession(graph, threads)


def _open_openvino(
    graph: Path, threads: int, precision: Precision, ranges_dirs: Sequence[Path]
) -> OpenVinoSession:
    if precision == "int8" or (precision == "auto" and multiplies_int8_exactly()):
        ranges = find_ranges(graph, ranges_dirs)
        if ranges is not None:
            return OpenVinoSession(quantise(graph, ranges), "int8", threads)
        if precision == "int8":
            raise PrecisionError(
                "FACE_API_PRECISION=int8, but there are no activation ranges for these weights: measure them "
                "with `face-api models calibrate --data FOLDER_OF_PICTURES`"
            )
    computed: ComputedPrecision = "fp32" if precision == "fp32" else "bf16"
    return OpenVinoSession(graph, computed, threads, fall_back=precision == "auto")
