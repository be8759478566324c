"""SCRFD as the detection stage uses it: stack canvases, run the session, read each picture's faces.

Guo et al., "Sample and Computation Redistribution for Efficient Face Detection", ICLR 2022.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from models.errors import SelfCheckError
from models.graph import prepare
from models.postprocess import postprocess
from models.resolve import ModelSource, ResolvedModel, resolve_model
from models.session import Provider, Session
from models.types import INPUT_SIZE, Canvas, Detections, DetectParams, Float32Array, UInt8Array

SELF_CHECK_TOLERANCE: Final = 1e-3
"""Largest difference of an output between a batch and single runs; kernels differ in rounding by size."""

logger = logging.getLogger("face_api.models")


@dataclass(frozen=True, slots=True)
class ScrfdOptions:
    """How to load the detector."""

    source: ModelSource
    prepared_dir: Path  # batch-safe graphs are kept here
    provider: Provider = "auto"
    threads: int = 0  # of the CPU provider; 0 = one for each core


class Scrfd:
    """A loaded detector. One batch at a time: the caller keeps threads apart."""

    def __init__(self, model: ResolvedModel, session: Session) -> None:
        self.name = model.name
        self.licence = model.licence
        self.provider = session.provider
        self.supports_landmarks = session.output_count == 9
        self._session = session

    @classmethod
    def load(cls, options: ScrfdOptions) -> "Scrfd":
        """Resolve the weights, prepare the graph, open the session and check that batches are safe.

        Raises:
            ModelError: Any of these failed; the message says what to do.
        """
        model = resolve_model(options.source)
        for note in model.notes:
            logger.warning("%s", note)
        graph = prepare(model.path, options.prepared_dir, model.digest)
        threads = options.threads or os.cpu_count() or 1
        session = Session(graph, options.provider, threads)
        check_batches(session)
        return cls(model, session)

    def stack(self, canvases: Sequence[Canvas]) -> UInt8Array:
        """One blob (N, 640, 640, 3): each canvas at the top left, zeros to its right and below."""
        blob = np.zeros((len(canvases), INPUT_SIZE, INPUT_SIZE, 3), np.uint8)
        for row, canvas in enumerate(canvases):
            height, width = canvas.pixels.shape[:2]
            blob[row, :height, :width] = canvas.pixels
        return blob

    def infer(self, blob: UInt8Array) -> list[Float32Array]:
        """Raw outputs of a blob, each (N, A, C); see `postprocess`."""
        return self._session.run(blob)

    def postprocess(
        self, outputs: list[Float32Array], row: int, canvas: Canvas, params: DetectParams
    ) -> Detections:
        """Faces of picture `row` of a batch, with its own thresholds."""
        own = [output[row] for output in outputs]
        landmarks = own[6:9] if self.supports_landmarks else None
        return postprocess(own[0:3], own[3:6], landmarks, canvas, params)

    def detect(self, canvas: Canvas, params: DetectParams) -> Detections:
        """Faces of one picture."""
        return self.postprocess(self.infer(self.stack([canvas])), 0, canvas, params)


def check_batches(session: Session) -> None:
    """Prove that a mixed batch gives each picture what it gets alone.

    Raises:
        SelfCheckError: It does not: one request's faces would go to another.
    """
    pictures = _different_pictures()
    batch = session.run(pictures)
    for row in range(len(pictures)):
        alone = session.run(pictures[row : row + 1])
        for together, single in zip(batch, alone, strict=True):
            if together.shape[0] != len(pictures) or together.shape[1:] != single.shape[1:]:
                raise SelfCheckError("the graph does not keep the pictures of a batch apart")
            difference = float(np.abs(together[row] - single[0]).max())
            if not difference <= SELF_CHECK_TOLERANCE * max(1.0, float(np.abs(single).max())):
                raise SelfCheckError(
                    f"picture {row} of a mixed batch differs by {difference:.3g} from the same picture alone"
                )


def _different_pictures() -> UInt8Array:
    """(3, 640, 640, 3): noise, a gradient with red blocks, and black: their outputs differ everywhere."""
    pictures = np.zeros((3, INPUT_SIZE, INPUT_SIZE, 3), np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (INPUT_SIZE // 8, INPUT_SIZE // 8, 3), np.uint8)
    pictures[0] = noise.repeat(8, axis=0).repeat(8, axis=1)
    pictures[1] = np.linspace(0, 255, INPUT_SIZE).astype(np.uint8)[:, None, None]
    pictures[1, 64:128, 64:320] = (255, 0, 0)
    return pictures
