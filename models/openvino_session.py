"""OpenVINO: SCRFD on CPUs, compiled for each shape of picture, in INT8, bf16 or fp32."""

import sys
import threading
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from models.errors import InferenceError, PrecisionError, ProviderError
from models.types import Float32Array, UInt8Array

ComputedPrecision = Literal["fp32", "bf16", "int8"]

# What INT8 does not cover (the picture's scaling, sums, the ends of the heads) stays fp32: bf16 is no faster.
_HINTS: Final[dict[ComputedPrecision, str]] = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


class OpenVinoSession:
    """A `models.session.Session` that runs the part of the square which holds picture, one at a time.

    OpenVINO compiles a graph for one shape to code that is up to 20 % faster than that for any shape, and
    whose INT8 rounding differs. So there is one compiled graph for each shape, 15 at most (17 MB each for
    500m, 26 MB for 2.5g, 30 MB for 10g), and a picture's answer never depends on which were ready.
    """

    # Short sides: 384 is for 16:9, 448 for 3:2, 480 for 4:3. The long side of a canvas is always 640.
    sides: tuple[int, ...] = (256, 320, 384, 448, 480, 512, 576, 640)

    def __init__(
        self, path: Path, precision: ComputedPrecision, threads: int, *, fall_back: bool = False
    ) -> None:
        """Load the graph; it is compiled by `make_ready`, or by the first `run` of a shape.

        Args:
            path: A graph made by `graph.prepare`, or by `quantise.quantise` for int8.
            precision: What to compute in.
            threads: Threads of a run, at least 1.
            fall_back: Whether fp32 will do where the CPU has no bf16.

        Raises:
            ProviderError: OpenVINO or the graph cannot be loaded.
            PrecisionError: This CPU does not compute in `precision`.
        """
        openvino = _import_openvino()
        try:
            self._core = openvino.Core()
            self._graph = self._core.read_model(path)
            has_bf16 = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        except Exception as error:
            raise ProviderError(f"OpenVINO cannot load {path.name}: {error}") from error
        if precision == "bf16" and not has_bf16:
            if not fall_back:
                raise PrecisionError(
                    "FACE_API_PRECISION=bf16, but this CPU has no bf16; fp32 works everywhere"
                )
            precision = "fp32"
        self._properties = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # other processes share the cores
        }
        self.provider = f"OpenVINO CPU {precision}"
        self.output_count = len(self._graph.outputs)
        self._requests: dict[tuple[int, int], Any] = {}
        self._compiling = threading.Lock()

    def make_ready(self, height: int, width: int) -> None:
        """Compile for pictures of this shape (0.2 to 0.5 s) and warm up, unless done. From any thread.

        Raises:
            InferenceError: The graph does not run with this shape.
        """
        if (height, width) in self._requests:
            return
        with self._compiling:
            if (height, width) in self._requests:
                return
            try:
                graph = self._graph.clone()
                graph.reshape({graph.inputs[0]: [1, height, width, 3]})
                compiled = self._core.compile_model(graph, "CPU", self._properties)
                request = compiled.create_infer_request()
                request.infer([np.zeros((1, height, width, 3), np.uint8)])
            except Exception as error:
                raise InferenceError(f"OpenVINO cannot run {height}x{width}: {error}") from error
            self._requests[height, width] = request

    def run(self, pictures: UInt8Array) -> list[Float32Array]:
        """Raw outputs, each (N, A, C), for pictures (N, H, W, 3): new arrays, one picture after the other."""
        self.make_ready(*pictures.shape[1:3])
        request = self._requests[pictures.shape[1], pictures.shape[2]]
        try:
            answers = [
                list(request.infer([picture[None]], share_inputs=True).values()) for picture in pictures
            ]
        except Exception as error:
            raise InferenceError(f"the session failed: {error}") from error
        if len(answers) == 1:
            return answers[0]
        return [np.concatenate(parts) for parts in zip(*answers, strict=True)]


def multiplies_int8_exactly() -> bool:
    """Whether this CPU has VNNI. Older ones add up INT8 products in 16 bits, which overflow."""
    try:
        return "vnni" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def _import_openvino() -> Any:  # noqa: ANN401 - the module
    """OpenVINO without its telemetry, which would report each import to Google Analytics.

    OpenVINO does without that package where it is not installed, and to Python a None in `sys.modules` is
    the same.
    """
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        import openvino  # noqa: PLC0415 - 0.4 s that machines with CUDA do not need
    except (ImportError, OSError) as error:
        raise ProviderError(f"OpenVINO cannot be loaded: {error}") from error
    return openvino
