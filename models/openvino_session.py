"""OpenVINO: SCRFD on CPUs, compiled for each shape of picture, in INT8, bf16 or fp32."""

import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, Literal

import numpy as np

from models.errors import InferenceError, PrecisionError, ProviderError
from models.raw_faces import HeadOutputs
from models.types import UInt8Array

ComputedPrecision = Literal["fp32", "bf16", "int8"]

# What INT8 does not cover (the picture's scaling, sums, the ends of the heads) stays fp32: bf16 is no faster.
_HINTS: Final[dict[ComputedPrecision, str]] = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


class OpenVinoSession:
    """A `models.session.Session` that runs the part of the square which holds picture.

    Under load each picture has one thread, and as many run at once as there are threads: sharing a picture
    between two costs a third more processor (9.8 ms instead of 6.1 for 500m). A picture that is alone gets
    all threads, which halves its time. That makes two compiled graphs for each shape.

    OpenVINO compiles a graph for one shape to code that is up to 20 % faster than that for any shape, and
    whose INT8 rounding differs. So graphs are compiled for each shape, 15 at most, and a picture's answer
    never depends on which were ready.
    """

    rounding: float = 1e-3
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
        self._precision_hint = _HINTS[precision]
        self.workers = threads
        self.provider = f"OpenVINO CPU {precision}"
        self.supports_landmarks = len(self._graph.outputs) == 9
        self._ready: dict[tuple[int, int], _Compiled] = {}
        self._compiling = threading.Lock()

    def make_ready(self, height: int, width: int) -> None:
        """Compile for pictures of this shape (0.2 to 0.5 s) and warm up, unless done. From any thread.

        Raises:
            InferenceError: The graph does not run with this shape.
        """
        if (height, width) in self._ready:
            return
        with self._compiling:
            if (height, width) in self._ready:
                return
            try:
                graph = self._graph.clone()
                graph.reshape({graph.inputs[0]: [1, height, width, 3]})
                one_each = self._requests(graph, self.workers, streams=self.workers)
                shared = self._requests(graph, 1, streams=1) if self.workers > 1 else one_each
            except Exception as error:
                raise InferenceError(f"OpenVINO cannot run {height}x{width}: {error}") from error
            self._ready[height, width] = _Compiled(one_each, shared)

    def blank(self, count: int, height: int, width: int) -> UInt8Array:
        """Memory to fill for `run`."""
        return np.empty((count, height, width, 3), np.uint8)

    def run(self, pictures: UInt8Array, *, is_alone: bool = True) -> list[HeadOutputs]:
        """The answers for pictures (N, H, W, 3): new arrays, one picture after the other."""
        self.make_ready(*pictures.shape[1:3])
        compiled = self._ready[pictures.shape[1], pictures.shape[2]]
        requests = compiled.shared if is_alone else compiled.one_each
        request = requests.get()
        try:
            answers = []
            for picture in pictures:
                outputs = request.infer([picture[None]], share_inputs=True).values()
                answers.append(HeadOutputs([output[0] for output in outputs]))
        except Exception as error:
            raise InferenceError(f"the session failed: {error}") from error
        finally:
            requests.put(request)
        return answers

    def _requests(self, graph: Any, count: int, *, streams: int) -> "SimpleQueue[Any]":  # noqa: ANN401 - no types
        """Requests that share one compiled graph, warmed up."""
        properties = {
            "INFERENCE_PRECISION_HINT": self._precision_hint,
            "INFERENCE_NUM_THREADS": self.workers,
            "NUM_STREAMS": streams,
            "ENABLE_CPU_PINNING": False,  # other processes share the cores
        }
        compiled = self._core.compile_model(graph, "CPU", properties)
        requests: SimpleQueue[Any] = SimpleQueue()
        for _ in range(count):
            request = compiled.create_infer_request()
            request.infer([np.zeros(list(graph.inputs[0].shape), np.uint8)])
            requests.put(request)
        return requests


@dataclass(frozen=True, slots=True)
class _Compiled:
    """The requests of one shape that nobody uses."""

    one_each: "SimpleQueue[Any]"  # one thread each
    shared: "SimpleQueue[Any]"  # one request, all threads


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
