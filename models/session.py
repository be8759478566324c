"""Which engine runs the graph: the one that was asked for, or the quickest this machine has."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

from models.activation_ranges import find_ranges
from models.errors import PrecisionError, ProviderError
from models.onnxruntime_session import OnnxRuntimeSession
from models.openvino_session import ComputedPrecision, OpenVinoSession, multiplies_int8_exactly
from models.quantise import quantise
from models.types import Float32Array, UInt8Array

Provider = Literal["auto", "cpu", "openvino", "cuda"]
Precision = Literal["auto", "fp32", "bf16", "int8"]

logger = logging.getLogger("face_api.models")


class Session(Protocol):
    """A prepared graph in memory, for several threads at once."""

    provider: str  # as readiness and the API report it
    output_count: int  # 9, or 6 without landmarks
    workers: int  # threads that keep it busy
    sides: tuple[int, ...]
    """Heights and widths of pictures that `run` takes, rising; the last is INPUT_SIZE."""

    def make_ready(self, height: int, width: int) -> None:
        """Do now what would delay the first `run` of this shape."""
        ...

    def run(self, pictures: UInt8Array, *, is_alone: bool = True) -> list[Float32Array]:
        """Raw outputs, each (N, A, C), for pictures (N, H, W, 3) RGB.

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
        provider: `auto` takes CUDA when a device really answers, else OpenVINO, else ONNX Runtime's CPU.
        threads: Threads of a run on the CPU, at least 1.
        precision: For OpenVINO; the others compute in fp32. `auto` is INT8 with activation ranges and a CPU
            that is exact in it, else bf16 or what the CPU has instead.
        ranges_dirs: Looked through for activation ranges, before those that are shipped.

    Raises:
        ProviderError: The provider that was asked for cannot run.
        PrecisionError: The precision that was asked for cannot be had.
        RangesError: A file in `ranges_dirs` holds no ranges.
    """
    needs_openvino = precision in {"int8", "bf16"}
    if needs_openvino and provider in {"cpu", "cuda"}:
        raise PrecisionError(
            f"FACE_API_PRECISION={precision} needs FACE_API_PROVIDER=openvino; {provider} computes in fp32"
        )
    if provider == "cuda" or (provider == "auto" and not needs_openvino):
        try:
            return OnnxRuntimeSession(graph, "cuda", threads)
        except ProviderError as error:
            if provider == "cuda":
                raise ProviderError(f"FACE_API_PROVIDER=cuda, but {error}") from error
    if provider != "cpu":
        try:
            return _open_openvino(graph, threads, precision, ranges_dirs)
        except ProviderError as error:
            if provider == "openvino" or needs_openvino:
                raise
            logger.warning("%s; ONNX Runtime runs instead, and slower", error)
    return OnnxRuntimeSession(graph, "cpu", threads)


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
