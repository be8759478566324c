"""The detection stage as a Ray Serve deployment."""

import time
from collections.abc import Sequence
from typing import TypedDict

import cv2
from ray import serve

from deployments import metrics, tracing
from deployments.calls import Callee, Method
from deployments.deadline import Deadline
from deployments.detection.batch import BatchItem, infer_batch
from deployments.detection.batcher import Batcher
from deployments.detection.search import search
from deployments.load import StageLoad
from deployments.parcels import CanvasParcel
from deployments.replica import HEALTH_CHECK_PERIOD_S, set_up_replica
from deployments.types import Inferred, ServedModel
from models.errors import FaceError
from models.scrfd import Scrfd, ScrfdOptions
from models.types import DetectParams


class BatchConfig(TypedDict, total=False):
    """`user_config` of the Detector in the Ray config; changed without a restart."""

    max_batch_size: int
    batch_wait_timeout_s: float


@serve.deployment(health_check_period_s=HEALTH_CHECK_PERIOD_S)
class Detector:
    """Finds faces: collects requests into batches and runs them through one session."""

    async def __init__(  # type: ignore[misc] # Ray Serve awaits it
        self, options: ScrfdOptions, *, session: str, metrics_port: int
    ) -> None:
        set_up_replica("Detector", metrics_port)
        cv2.setNumThreads(1)
        self._scrfd = Scrfd.load(options)
        self._scrfd.make_common_ready()
        self._batcher: Batcher[BatchItem, Inferred] = Batcher(
            lambda items: infer_batch(self._scrfd, items), self._scrfd.workers
        )
        self._load = StageLoad("Detector", None)
        metrics.MODEL.set(1, self._scrfd.name, self._scrfd.provider)
        methods: dict[str, Method] = {"detect": self.detect, "served_model": self.served_model}
        self._calls = Callee(session, "Detector", methods)
        await self._calls.start()

    async def __del__(self) -> None:
        """Answer what was asked, then take no more calls."""
        await self._calls.stop()
        tracing.shut_down()

    def reconfigure(self, config: BatchConfig) -> None:
        """Apply the batch size and wait of the Ray config."""
        wait_s = float(config.get("batch_wait_timeout_s", 0.0))
        self._batcher.configure(int(config.get("max_batch_size", 1)), wait_s)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What Ray Serve's controller hears of this replica; see `deployments.scaling`."""
        return self._load.report()

    async def served_model(self) -> ServedModel:
        """The model this replica answers with."""
        scrfd = self._scrfd
        return ServedModel(scrfd.name, scrfd.supports_landmarks, scrfd.provider, scrfd.licence, scrfd.digest)

    async def detect(
        self, canvases: Sequence[CanvasParcel], params: DetectParams, is_alone: bool, timeout_s: float
    ) -> Inferred | FaceError:
        """Find the faces of one picture, with the request's own thresholds.

        Args:
            canvases: The whole picture, then its tiles for `detail=max`.
            params: The request's own.
            is_alone: The caller waits for nothing else, so this one may have every core.
            timeout_s: What is left of the request's deadline.
        """
        arrived_s = time.perf_counter()
        deadline = Deadline.after(timeout_s)
        with self._load.picture():
            if params.is_plain:
                item = BatchItem(canvases[0], params, deadline, arrived_s, is_alone)
                found = await self._batcher.submit(item)
            else:
                at_once = self._batcher.max_size
                found = await search(
                    self._batcher.submit, canvases, params, deadline, is_alone=is_alone, at_once=at_once
                )
        if tracing.is_on() and isinstance(found, Inferred):
            stages = {
                "queue": found.queue_ms,
                "blob": found.blob_ms,
                "inference": found.inference_ms,
                "postprocess": found.detections.postprocess_ms,
                "nms": found.detections.nms_ms,
            }
            tracing.add_stages(arrived_s, stages, model=found.model, batch_size=found.batch_size)
        return found
