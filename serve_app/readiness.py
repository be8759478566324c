"""Whether a picture goes through the real pipeline."""

import asyncio
import time
from typing import Final

import numpy as np
import simplejpeg

from deployments.types import FacePipeline, MaskParams
from models.errors import FaceError
from models.types import DetectParams

FRESH_S: Final = 10.0
"""How long one picture that went through is believed."""
PROBE_TIMEOUT_S: Final = 5.0


class Readiness:
    """Sends a small picture through every stage, at most once in FRESH_S and one at a time."""

    def __init__(self, pipeline: FacePipeline) -> None:
        self._pipeline = pipeline
        self._probing = asyncio.Lock()
        self._succeeded_at = -FRESH_S
        grey = np.full((64, 64, 3), 128, np.uint8)
        self._picture: bytes = simplejpeg.encode_jpeg(grey, quality=90)

    async def check(self) -> bool:
        """True when a picture went through within FRESH_S seconds, or does now."""
        async with self._probing:
            if time.monotonic() - self._succeeded_at < FRESH_S:
                return True
            try:
                await self._pipeline.mask(self._picture, DetectParams(), MaskParams(), PROBE_TIMEOUT_S)
            except FaceError:
                return False
            self._succeeded_at = time.monotonic()
            return True
