"""Batches of fixed sizes in buffers that stay where they are: how ONNX Runtime is quick on GPUs."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Final

import numpy as np
import onnxruntime as ort

from models.errors import InferenceError
from models.host_memory import AnyArray, HostMemory
from models.raw_faces import BestAnchors
from models.types import INPUT_SIZE, UInt8Array

BUCKETS: Final = (1, 2, 4, 8, 16, 32)
"""Sizes of batches that are run; one in between is filled up, a larger one is run in parts."""

BUFFERS: Final = 3
"""Of each bucket: one batch is computed while one is copied to the device, and one is stacked or read."""

OUTPUT_TYPES: Final = {"tensor(float)": np.float32, "tensor(int64)": np.int64}


class BucketSession:
    """A `models.session.Session` over a graph made by `gpu_graph.gpu_form`.

    A batch goes: stacked in memory of the calling thread, copied to one of its bucket's buffers, run, copied
    back. Only the run excludes other batches, so with several workers the next is there when one ends.

    All runs happen in one thread of this session: ONNX Runtime captures CUDA graphs for each thread that
    runs, and a new one would capture anew in the middle of requests.
    """

    sides: tuple[int, ...] = (INPUT_SIZE,)
    workers: int = BUFFERS

    def __init__(
        self, session: ort.InferenceSession, provider: str, *, memory: HostMemory, rounding: float
    ) -> None:
        """Make the smallest bucket ready; the others follow with `make_ready`, or when first needed.

        Args:
            session: Of the GPU form, on its device.
            provider: As readiness and the API report it.
            memory: Of the host, for the device on which the buffers lie.
            rounding: See `models.session.Session`.

        Raises:
            InferenceError: The graph does not run.
        """
        self._session = session
        self.provider = provider
        self.rounding = rounding
        self._memory = memory
        self._kinds = [output.name for output in session.get_outputs()]
        self.supports_landmarks = "landmarks" in self._kinds
        self._buffers: dict[int, SimpleQueue[_Buffers]] = {}
        self._preparing = threading.Lock()
        self._graphs = 0
        self._staging = threading.local()
        self._runner = ThreadPoolExecutor(1, "session")
        self._buffers_of(BUCKETS[0])

    def make_ready(self, height: int, width: int) -> None:
        """Make buffers for every bucket and warm them up, unless done; before other threads run anything.

        Raises:
            InferenceError: The graph does not run, or the device has too little memory.
        """
        for size in BUCKETS:
            self._buffers_of(size)

    def blank(self, count: int, height: int, width: int) -> UInt8Array:
        """Memory to fill for `run`: this thread's own, until it asks again."""
        return self._staged(_bucket(count))[:count]

    def run(self, pictures: UInt8Array, *, is_alone: bool = True) -> list[BestAnchors]:
        """The answers for pictures (N, 640, 640, 3)."""
        parts = range(0, len(pictures), BUCKETS[-1])
        return [face for start in parts for face in self._run(pictures[start : start + BUCKETS[-1]])]

    def _run(self, pictures: UInt8Array) -> list[BestAnchors]:
        count = len(pictures)
        size = _bucket(count)
        staged = self._staged(size)
        if staged.ctypes.data != pictures.ctypes.data:  # not from `blank`
            staged[:count] = pictures
        free = self._buffers_of(size)
        buffers = free.get()
        try:
            # Behind `count` lie earlier pictures; nobody reads the answers to those.
            self._memory.to_device(staged, buffers.pictures)
            self._runner.submit(self._session.run_with_iobinding, buffers.binding, buffers.options).result()
            for kind, value in buffers.outputs.items():
                self._memory.to_host(value, buffers.answers[kind])
            outputs = {kind: answer[:count].copy() for kind, answer in buffers.answers.items()}
        except Exception as error:
            raise InferenceError(f"the session failed: {error}") from error
        finally:
            free.put(buffers)
        return self._faces(outputs)

    @staticmethod
    def _faces(outputs: dict[str, Any]) -> list[BestAnchors]:
        """The answers in outputs of the GPU form, one for each picture."""
        scores, anchors, boxes = outputs["scores"], outputs["anchors"], outputs["boxes"]
        landmarks = outputs.get("landmarks", [None] * len(scores))
        parts = zip(scores, anchors, boxes, landmarks, strict=True)
        return [BestAnchors(score[:, 0], anchor[:, 0], box, points) for score, anchor, box, points in parts]

    def _staged(self, size: int) -> UInt8Array:
        """The calling thread's memory for so many pictures; the same as for fewer."""
        staged: UInt8Array | None = getattr(self._staging, "pictures", None)
        if staged is None or len(staged) < size:
            shape = (size, INPUT_SIZE, INPUT_SIZE, 3)
            staged = self._staging.pictures = self._memory.zeros(shape, np.uint8)
        return staged[:size]

    def _buffers_of(self, size: int) -> "SimpleQueue[_Buffers]":
        if size not in self._buffers:
            with self._preparing:
                if size not in self._buffers:
                    self._buffers[size] = self._prepared(size)
        return self._buffers[size]

    def _prepared(self, size: int) -> "SimpleQueue[_Buffers]":
        """Buffers that have been run: CUDA has chosen its kernels, and captured its graph where it does."""
        free: SimpleQueue[_Buffers] = SimpleQueue()
        try:
            for _ in range(BUFFERS):
                buffers = self._bound(size)
                self._memory.to_device(
                    np.zeros((size, INPUT_SIZE, INPUT_SIZE, 3), np.uint8), buffers.pictures
                )
                for _ in range(2):  # the second replays what the first captured
                    self._runner.submit(
                        self._session.run_with_iobinding, buffers.binding, buffers.options
                    ).result()
                free.put(buffers)
        except Exception as error:
            raise InferenceError(f"the session cannot run batches of {size}: {error}") from error
        return free

    def _bound(self, size: int) -> "_Buffers":
        """Memory on the device for one batch, bound for good."""
        picture = [INPUT_SIZE, INPUT_SIZE, 3]
        pictures = ort.OrtValue.ortvalue_from_shape_and_type([size, *picture], np.uint8, self._memory.device)
        outputs, answers = {}, {}
        for output in self._session.get_outputs():
            shape, dtype = (size, *output.shape[1:]), OUTPUT_TYPES[output.type]
            outputs[output.name] = ort.OrtValue.ortvalue_from_shape_and_type(
                list(shape), dtype, self._memory.device
            )
            answers[output.name] = self._memory.zeros(shape, dtype)
        binding = self._session.io_binding()
        binding.bind_ortvalue_input("pictures", pictures)
        for name, value in outputs.items():
            binding.bind_ortvalue_output(name, value)
        options = ort.RunOptions()
        self._graphs += 1
        options.add_run_config_entry("gpu_graph_id", str(self._graphs))  # read where CUDA graphs are on
        return _Buffers(pictures, outputs, answers, binding, options)


@dataclass(frozen=True, slots=True)
class _Buffers:
    """Of one batch; types are ONNX Runtime's, which has no annotations."""

    pictures: Any
    outputs: dict[str, Any]
    answers: dict[str, AnyArray]  # on the host, one for each output
    binding: Any
    options: Any


def _bucket(count: int) -> int:
    """The smallest bucket that holds so many; themselves when none does."""
    return next((size for size in BUCKETS if size >= count), count)
