"""The decoding stage as a Ray Serve deployment."""

import os

import cv2
from ray import serve

from deployments.calls import Callee
from deployments.deadline import Deadline
from deployments.decoding.decode import decode
from deployments.parcels import DecodedParcel
from deployments.replica import set_up_replica
from deployments.transport import Locker, Parcel, receive
from deployments.worker import Worker
from models.errors import FaceError


@serve.deployment
class Decoder:
    """Turns an upload into the detector's canvas and, for masking, the whole upright picture."""

    async def __init__(  # type: ignore[misc] # Ray Serve awaits it
        self, *, max_pixels: int, session: str, threads: int = 0
    ) -> None:
        set_up_replica()
        cv2.setNumThreads(1)
        self._max_pixels = max_pixels
        self._worker = Worker(threads or min(4, os.cpu_count() or 1), "decode")
        self._calls = Callee(session, "Decoder", {"decode": self.decode})
        await self._calls.start()

    async def __del__(self) -> None:
        """Answer what was asked, then take no more calls."""
        await self._calls.stop()

    async def decode(
        self, upload: Parcel, keep_picture: bool, locker: Locker, timeout_s: float
    ) -> DecodedParcel | FaceError:
        """Decode one upload and leave the result in its request's locker."""

        def work() -> DecodedParcel:
            data = receive(upload).tobytes()
            decoded = decode(data, max_pixels=self._max_pixels, keep_picture=keep_picture)
            return DecodedParcel.pack(decoded, locker, upload)

        return await self._worker.run(work, Deadline.after(timeout_s))
