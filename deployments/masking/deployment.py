"""The masking stage as a Ray Serve deployment."""

import os
import time
from collections.abc import Callable

import cv2
import numpy as np
from ray import serve

from deployments import tracing
from deployments.calls import Callee
from deployments.deadline import Deadline
from deployments.load import StageLoad
from deployments.masking.lossless import mask_lossless
from deployments.masking.mask import mask
from deployments.parcels import CanvasParcel, MaskedParcel, PictureParcel
from deployments.replica import HEALTH_CHECK_PERIOD_S, set_up_replica
from deployments.transport import Parcel, receive, send
from deployments.types import Masked, MaskParams
from deployments.worker import Worker
from models.errors import FaceError
from models.types import Float32Array


@serve.deployment(health_check_period_s=HEALTH_CHECK_PERIOD_S)
class Masker:
    """Hides faces and encodes the result; the only stage that makes pictures for clients."""

    async def __init__(  # type: ignore[misc] # Ray Serve awaits it
        self, *, session: str, metrics_port: int, threads: int = 0
    ) -> None:
        set_up_replica("Masker", metrics_port)
        cv2.setNumThreads(1)
        threads = threads or min(4, os.cpu_count() or 1)
        self._worker = Worker(threads, "mask")
        self._load = StageLoad("Masker", threads)
        self._calls = Callee(session, "Masker", {"mask": self.mask, "mask_lossless": self.mask_lossless})
        await self._calls.start()

    async def __del__(self) -> None:
        """Answer what was asked, then take no more calls."""
        await self._calls.stop()
        tracing.shut_down()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What Ray Serve's controller hears of this replica; see `deployments.scaling`."""
        return self._load.report()

    async def mask(
        self,
        picture: PictureParcel,
        boxes: Float32Array,
        params: MaskParams,
        timeout_s: float,
    ) -> MaskedParcel | FaceError:
        """Hide the faces in `boxes` (N, 4), and the regions asked for; the result lies behind the picture."""

        def work() -> Masked:
            return mask(picture.unpack(), boxes, params)

        return await self._run(work, picture.pixels, params, timeout_s)

    async def mask_lossless(
        self,
        upload: Parcel,
        canvas: CanvasParcel,
        boxes: Float32Array,
        params: MaskParams,
        timeout_s: float,
    ) -> MaskedParcel | FaceError:
        """Hide the same in the coefficients of a JPEG; the result lies behind its canvas."""

        def work() -> Masked:
            data = receive(upload).tobytes()
            return mask_lossless(data, canvas.width, canvas.height, boxes, params)

        return await self._run(work, canvas.pixels, params, timeout_s)

    async def _run(
        self, work: Callable[[], Masked], behind: Parcel, params: MaskParams, timeout_s: float
    ) -> MaskedParcel | FaceError:
        """Do `work` in a thread, and leave its result behind the last parcel of the request's locker."""
        arrived_s = time.perf_counter()

        def packed() -> MaskedParcel:
            queue_ms = (time.perf_counter() - arrived_s) * 1e3
            masked = work()
            data = send(np.frombuffer(masked.data, np.uint8), behind.locker, behind)
            times = (queue_ms, masked.mask_ms, masked.encode_ms)
            return MaskedParcel(data, masked.regions_masked, *times, masked.strength_raised)

        with self._load.picture():
            masked = await self._worker.run(packed, Deadline.after(timeout_s))
        if tracing.is_on() and isinstance(masked, MaskedParcel):
            stages = {"queue": masked.queue_ms, "mask": masked.mask_ms, "encode": masked.encode_ms}
            tracing.add_stages(arrived_s, stages, method=params.method, format=params.format)
        return masked
