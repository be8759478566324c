"""The decoding stage as a Ray Serve deployment."""

import os
import time

import cv2
from ray import serve

from deployments import tracing
from deployments.calls import Callee
from deployments.deadline import Deadline
from deployments.decoding.decode import decode
from deployments.load import StageLoad
from deployments.parcels import DecodedParcel
from deployments.replica import HEALTH_CHECK_PERIOD_S, set_up_replica
from deployments.transport import Locker, Parcel, receive
from deployments.types import DecodeParams
from deployments.worker import Worker
from models.errors import FaceError


@serve.deployment(health_check_period_s=HEALTH_CHECK_PERIOD_S)
class Decoder:
    """Turns an upload into the detector's canvas and, for masking, the whole upright picture."""

    async def __init__(  # type: ignore[misc] # Ray Serve awaits it
        self, *, max_pixels: int, session: str, metrics_port: int, threads: int = 0
    ) -> None:
        set_up_replica("Decoder", metrics_port)
        cv2.setNumThreads(1)
        self._max_pixels = max_pixels
        threads = threads or min(4, os.cpu_count() or 1)
        self._worker = Worker(threads, "decode")
        self._load = StageLoad("Decoder", threads)
        self._calls = Callee(session, "Decoder", {"decode": self.decode})
        await self._calls.start()

    async def __del__(self) -> None:
        """Answer what was asked, then take no more calls."""
        await self._calls.stop()
        tracing.shut_down()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What Ray Serve's controller hears of this replica; see `deployments.scaling`."""
        return self._load.report()

    async def decode(
        self, upload: Parcel, params: DecodeParams, locker: Locker, timeout_s: float
    ) -> DecodedParcel | FaceError:
        """Decode one upload and leave the result in its request's locker."""
        arrived_s = time.perf_counter()

        def work() -> DecodedParcel:
            queue_ms = (time.perf_counter() - arrived_s) * 1e3
            data = receive(upload).tobytes()
            decoded = decode(
                data,
                max_pixels=self._max_pixels,
                keep_picture=params.keep_picture,
                detail=params.detail,
                same_canvas=params.same_canvas,
            )
            return DecodedParcel.pack(decoded, queue_ms, locker, upload)

        with self._load.picture():
            decoded = await self._worker.run(work, Deadline.after(timeout_s))
        if tracing.is_on() and isinstance(decoded, DecodedParcel):
            stages = {
                "queue": decoded.queue_ms,
                "decode": decoded.decode_ms,
                "preprocess": decoded.preprocess_ms,
            }
            info = decoded.info
            tracing.add_stages(arrived_s, stages, format=info.format, width=info.width, height=info.height)
        return decoded
