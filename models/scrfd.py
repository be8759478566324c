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

from models.close_ups import half_size
from models.errors import SelfCheckError
from models.graph import prepare
from models.postprocess import postprocess
from models.raw_faces import RawFaces
from models.resolve import ModelSource, ResolvedModel, resolve_model
from models.session import Precision, Provider, Session, open_session
from models.types import Canvas, Detections, DetectParams, UInt8Array

COMMON_SHAPES: Final = ((360, 640), (427, 640), (480, 640), (640, 640), (640, 480), (640, 427), (640, 360))
"""Heights and widths of the canvases of 16:9, 3:2, 4:3 and square pictures, both ways round."""

logger = logging.getLogger("face_api.models")


@dataclass(frozen=True, slots=True)
class ScrfdOptions:
    """How to load the detector."""

    source: ModelSource
    prepared_dir: Path  # batch-safe graphs are kept here
    provider: Provider = "auto"
    threads: int = 0  # of a run on the CPU; 0 = one for each core
    precision: Precision = "auto"
    ranges_dirs: tuple[Path, ...] = ()  # activation ranges, looked up before those that are shipped


class Scrfd:
    """A loaded detector, for several threads at once."""

    def __init__(self, model: ResolvedModel, session: Session) -> None:
        self.name = model.name
        self.licence = model.licence
        self.digest = model.digest
        self.provider = session.provider
        self.supports_landmarks = session.supports_landmarks
        self.workers = session.workers
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
        session = open_session(graph, options.provider, threads, options.precision, options.ranges_dirs)
        check_batches(session)
        return cls(model, session)

    def make_common_ready(self) -> None:
        """Do what would delay the first picture of each common shape: for services, not for one picture."""
        for height, width in COMMON_SHAPES:
            for size in ((height, width), half_size(height, width)):
                self._session.make_ready(*_blob_shape(self._session, *size))

    def make_ready(self, canvas: Canvas) -> None:
        """Do what would delay this picture because its shape is new."""
        self._session.make_ready(*self.blob_shape(canvas))

    def blob_shape(self, canvas: Canvas) -> tuple[int, int]:
        """Height and width a canvas is padded to; only canvases of one such shape make a batch.

        It depends on the canvas alone, so a picture's answer does not depend on its neighbours.
        """
        height, width = canvas.pixels.shape[:2]
        return _blob_shape(self._session, height, width)

    def stack(self, canvases: Sequence[Canvas]) -> UInt8Array:
        """One blob (N, h, w, 3) of canvases of one `blob_shape`: each at the top left, zeros elsewhere.

        It may be overwritten when the same thread stacks again: infer it before.
        """
        blob = self._session.blank(len(canvases), *self.blob_shape(canvases[0]))
        for row, canvas in enumerate(canvases):
            height, width = canvas.pixels.shape[:2]
            blob[row, :height, :width] = canvas.pixels
            blob[row, :height, width:] = 0
            blob[row, height:] = 0
        return blob

    def infer(self, blob: UInt8Array, *, is_alone: bool = True) -> Sequence[RawFaces]:
        """What the session says of each picture of a blob. Alone, it may have every core."""
        return self._session.run(blob, is_alone=is_alone)

    def postprocess(self, raw: RawFaces, canvas: Canvas, params: DetectParams) -> Detections:
        """Faces of one picture of a batch, with its own thresholds."""
        return postprocess(raw, canvas, params, self.blob_shape(canvas))

    def detect(self, canvas: Canvas, params: DetectParams) -> Detections:
        """Faces of one picture."""
        (raw,) = self.infer(self.stack([canvas]))
        return self.postprocess(raw, canvas, params)


def check_batches(session: Session) -> None:
    """Prove that a mixed batch gives each picture what it gets alone.

    Raises:
        SelfCheckError: It does not: one request's faces would go to another.
    """
    pictures = _different_pictures(*_blob_shape(session, *COMMON_SHAPES[0]))
    batch = session.run(pictures, is_alone=False)
    for row, together in enumerate(batch):
        (alone,) = session.run(pictures[row : row + 1])
        difference = together.difference(alone)
        if not difference <= session.rounding:
            raise SelfCheckError(
                f"picture {row} of a mixed batch differs by {difference:.3g} from the same picture alone"
            )


def _blob_shape(session: Session, height: int, width: int) -> tuple[int, int]:
    """The smallest sides the session takes that hold a canvas."""
    rows, columns = (next(side for side in session.sides if side >= size) for size in (height, width))
    return rows, columns


def _different_pictures(height: int, width: int) -> UInt8Array:
    """(3, height, width, 3): noise, a gradient with red blocks, and black: all their outputs differ."""
    pictures = np.zeros((3, height, width, 3), np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    pictures[0] = noise.repeat(8, axis=0).repeat(8, axis=1)
    pictures[1] = np.linspace(0, 255, height).astype(np.uint8)[:, None, None]
    pictures[1, 64:128, 64:320] = (255, 0, 0)
    return pictures
