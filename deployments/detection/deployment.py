"""The detection stage as a Ray Serve deployment."""

import time
from typing import Any, TypedDict

import cv2
from ray import serve

from deployments.calls import Callee, Method
from deployments.deadline import Deadline
from deployments.detection.batch import BatchItem, infer_batch
from deployments.parcels import CanvasParcel
from deployments.replica import set_up_replica
from deployments.types import Inferred, ServedModel
from deployments.worker import Worker
from models.errors import FaceError
from models.scrfd import Scrfd, ScrfdOptions
from models.types import Canvas, DetectParams


class BatchConfig(TypedDict, total=False):
    """`user_config` of the Detector in the Ray config; changed without a restart."""

    max_batch_size: int
    batch_wait_timeout_s: float


@serve.deployment
class Detector:
    """Finds faces: collects requests into batches and runs them through one session."""

    async def __init__(self, options: ScrfdOptions, *, session: str) -> None:  # type: ignore[misc] # Ray Serve awaits it
        set_up_replica()
        cv2.setNumThreads(1)
        self._scrfd = Scrfd.load(options)
        self._scrfd.make_common_ready()
        self._session_worker = Worker(1, "infer")  # a session runs one batch at a time
        self._receiver = Worker(2, "receive")  # one may be busy with a shape that is new
        methods: dict[str, Method] = {"detect": self.detect, "served_model": self.served_model}
        self._calls = Callee(session, "Detector", methods)
        await self._calls.start()

    async def __del__(self) -> None:
        """Answer what was asked, then take no more calls."""
        await self._calls.stop()

    def reconfigure(self, config: BatchConfig) -> None:
        """Apply the batch size and wait of the Ray config."""
        batcher: Any = self._infer_batch  # the decorator adds setters the type does not show
        batcher.set_max_batch_size(int(config.get("max_batch_size", 1)))
        batcher.set_batch_wait_timeout_s(float(config.get("batch_wait_timeout_s", 0.0)))

    async def served_model(self) -> ServedModel:
        """The model this replica answers with."""
        scrfd = self._scrfd
        return ServedModel(scrfd.name, scrfd.supports_landmarks, scrfd.provider, scrfd.licence)

    async def detect(
        self, canvas: CanvasParcel, params: DetectParams, timeout_s: float
    ) -> Inferred | FaceError:
        """Find the faces of one canvas, with the request's own thresholds."""
        arrived_s = time.perf_counter()
        deadline = Deadline.after(timeout_s)
        taken = await self._receiver.run(lambda: self._receive(canvas))
        if isinstance(taken, FaceError):
            return taken
        answer: Inferred | FaceError = await self._infer_batch(BatchItem(taken, params, deadline, arrived_s))
        return answer

    def _receive(self, parcel: CanvasParcel) -> Canvas:
        canvas = parcel.unpack()
        self._scrfd.make_ready(canvas)
        return canvas

    @serve.batch(max_batch_size=1, batch_wait_timeout_s=0.0)
    async def _infer_batch(self, items: list[BatchItem]) -> list[Inferred | FaceError]:
        answers = await self._session_worker.run(lambda: infer_batch(self._scrfd, items))
        return [answers] * len(items) if isinstance(answers, FaceError) else answers
