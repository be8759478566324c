"""The yardstick: face detection and masking on FastAPI and uvicorn, as written in an afternoon.

    BASELINE_MODEL=scrfd_500m.onnx uvicorn --factory loadtests.compare.baseline:create_app --workers 2

One worker for each core, the published weights as they are, OpenCV and ONNX Runtime with one thread each
because there is a worker for each core, numpy for the rest. It imports nothing of this project. Nothing here
is slower than its author would have made it: FastAPI's thread pool runs the endpoints, both libraries give
up the GIL while they work, and NMS is vectorised. The upload is parsed by `multipart`, a dependency of this
project; FastAPI's own `UploadFile` needs python-multipart and takes as long (0.2 ms for 317 KB).
"""

import io
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

import anyio.to_thread
import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from multipart import MultipartParser, parse_options_header

Float32Array = npt.NDArray[np.float32]
UInt8Array = npt.NDArray[np.uint8]
IndexArray = npt.NDArray[np.intp]

INPUT_SIZE = 640
STRIDES = (8, 16, 32)
CONFIDENCE = 0.5
NMS_THRESHOLD = 0.4
PADDING = 0.15
KERNEL = 199
QUALITY = 95
MAX_BODY_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Faces:
    """Faces of one picture, best first."""

    boxes: Float32Array  # (N, 4) x1, y1, x2, y2 in source pixels
    scores: Float32Array  # (N,)
    landmarks: Float32Array  # (N, 5, 2) in source pixels

    def to_json(self) -> dict[str, Any]:
        """What /detect answers."""
        return {
            "boxes": self.boxes.tolist(),
            "scores": self.scores.tolist(),
            "landmarks": self.landmarks.tolist(),
        }


class FaceFinder:
    """SCRFD on ONNX Runtime; safe to call from many threads at once."""

    def __init__(self, model: str, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def find(self, picture: UInt8Array) -> Faces:
        """Faces of a picture (H, W, 3) BGR."""
        canvas, scale = letterbox(picture)
        blob = cv2.dnn.blobFromImage(canvas, 1 / 128, (INPUT_SIZE, INPUT_SIZE), (127.5,) * 3, swapRB=True)
        outputs: list[Float32Array] = self._session.run(None, {self._input: blob})
        scores, boxes, landmarks = decode_outputs(outputs)
        order = np.argsort(-scores, kind="stable")
        order = order[nms(boxes[order], NMS_THRESHOLD)]
        height, width = picture.shape[:2]
        limit = np.array([width, height, width, height], np.float32)
        source_boxes = np.clip(boxes[order] / scale, 0, limit).astype(np.float32)
        return Faces(source_boxes, scores[order], (landmarks[order] / scale).astype(np.float32))


def decode_image(data: bytes) -> UInt8Array:
    """(H, W, 3) BGR; ValueError when OpenCV cannot read it."""
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if picture is None:
        raise ValueError("not a picture")
    return np.asarray(picture, np.uint8)


def letterbox(picture: UInt8Array) -> tuple[UInt8Array, float]:
    """The picture scaled to fit, at the top left of a black square; and scaled / original."""
    height, width = picture.shape[:2]
    scale = INPUT_SIZE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    canvas = np.zeros((INPUT_SIZE, INPUT_SIZE, 3), np.uint8)
    canvas[: size[1], : size[0]] = cv2.resize(picture, size)
    return canvas, scale


def decode_outputs(outputs: list[Float32Array]) -> tuple[Float32Array, Float32Array, Float32Array]:
    """Candidates over the confidence: scores (K,), boxes (K, 4), landmarks (K, 5, 2) in canvas pixels.

    Args:
        outputs: Scores, box distances and landmark offsets, each for strides 8, 16 and 32.
    """
    found = []
    for index, stride in enumerate(STRIDES):
        scores = outputs[index].reshape(-1)
        rows = np.flatnonzero(scores >= CONFIDENCE)
        centres = anchors(stride)[rows]
        distances = outputs[index + 3].reshape(-1, 4)[rows] * stride
        boxes = np.hstack([centres - distances[:, :2], centres + distances[:, 2:]])
        offsets = outputs[index + 6].reshape(-1, 5, 2)[rows] * stride
        found.append((scores[rows], boxes, centres[:, None] + offsets))
    scores, boxes, landmarks = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return scores, boxes, landmarks


@lru_cache
def anchors(stride: int) -> Float32Array:
    """(cells * 2, 2) centres x, y in canvas pixels: two anchors for each cell, at its top left."""
    cells = INPUT_SIZE // stride
    y, x = np.mgrid[:cells, :cells]
    return np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2) * stride, 2, axis=0).astype(np.float32)


def nms(boxes: Float32Array, threshold: float) -> IndexArray:
    """Indices of the boxes (N, 4), sorted best first, that overlap no better one that stays."""
    x1, y1, x2, y2 = boxes.T
    areas = (x2 - x1) * (y2 - y1)
    left, kept = np.arange(len(boxes)), []
    while len(left):
        best, others = left[0], left[1:]
        kept.append(best)
        widths = np.minimum(x2[best], x2[others]) - np.maximum(x1[best], x1[others])
        heights = np.minimum(y2[best], y2[others]) - np.maximum(y1[best], y1[others])
        shared = np.maximum(widths, 0) * np.maximum(heights, 0)
        left = others[shared <= threshold * (areas[best] + areas[others] - shared)]
    return np.array(kept, np.intp)


def mask(picture: UInt8Array, boxes: Float32Array) -> bytes:
    """Blur every face, grown by PADDING on each side, in place; the picture as JPEG."""
    height, width = picture.shape[:2]
    for x1, y1, x2, y2 in boxes.tolist():
        grow_x, grow_y = PADDING * (x2 - x1), PADDING * (y2 - y1)
        left, top = max(0, int(x1 - grow_x)), max(0, int(y1 - grow_y))
        right, bottom = min(width, int(x2 + grow_x) + 1), min(height, int(y2 + grow_y) + 1)
        region = picture[top:bottom, left:right]
        region[:] = cv2.GaussianBlur(region, (KERNEL, KERNEL), 0)
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


async def uploaded(request: Request) -> bytes:
    """The part `image` of a multipart body."""
    _, options = parse_options_header(request.headers.get("content-type", ""))
    stream = io.BytesIO(await request.body())
    limits = {"spool_limit": MAX_BODY_BYTES, "memory_limit": MAX_BODY_BYTES}  # never a temporary file
    for part in MultipartParser(stream, options.get("boundary", ""), **limits):
        if part.name == "image":
            data: bytes = part.raw
            return data
    raise HTTPException(422, "send multipart/form-data with the file part `image`")


Image = Annotated[bytes, Depends(uploaded)]


def create_app() -> FastAPI:
    """The application.

    BASELINE_MODEL names the weights, BASELINE_THREADS (1) the threads of one inference, BASELINE_POOL the
    threads of the pool that runs the endpoints (FastAPI's default is 40).
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        cv2.setNumThreads(1)
        threads = int(os.environ.get("BASELINE_THREADS", "1"))
        app.state.finder = FaceFinder(os.environ["BASELINE_MODEL"], threads)
        if pool := os.environ.get("BASELINE_POOL"):
            anyio.to_thread.current_default_thread_limiter().total_tokens = int(pool)
        yield

    app = FastAPI(lifespan=lifespan)

    def read(data: bytes) -> UInt8Array:
        try:
            return decode_image(data)
        except ValueError as error:
            raise HTTPException(400, str(error)) from error

    @app.get("/health")
    def health() -> dict[str, int]:
        return {"pid": os.getpid()}

    @app.post("/detect")
    def detect(data: Image) -> dict[str, Any]:
        faces: Faces = app.state.finder.find(read(data))
        return faces.to_json()

    @app.post("/mask")
    def hide(data: Image) -> Response:
        picture = read(data)
        faces: Faces = app.state.finder.find(picture)
        return Response(mask(picture, faces.boxes), media_type="image/jpeg")

    return app
