"""Query parameters and answer of /api/v1/detect. The models document; `detect_answer` builds."""

import json
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from deployments.types import Analysed, ImageInfo, PassFacts
from models.types import INPUT_SIZE, Detail, Detections, DetectParams, PassKind, Uncertain
from serve_app.services.recording import NOTHING, Keep, Recorded

LANDMARK_NAMES = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")

Share = Annotated[float, Field(ge=0.01, le=1.0, allow_inf_nan=False)]


class DetectQuery(BaseModel):
    """Tuning parameters of detection."""

    confidence: Annotated[Share, Field(description="Lowest score that counts as a face.")] = 0.5
    nms_threshold: Annotated[Share, Field(description="IoU above which the weaker of two boxes goes.")] = 0.4
    max_faces: Annotated[
        int, Field(ge=0, le=2**31 - 1, description="Keep the best so many; 0 = no limit.")
    ] = 0
    detail: Annotated[
        Detail,
        Field(
            description="How closely to look: `fast` once, `auto` again where there may be close-ups, `max` "
            "also at the picture's own size. docs/detail.md says what each finds and costs."
        ),
    ] = "fast"
    uncertain: Annotated[
        Uncertain,
        Field(
            description="What becomes of faces from `mask_confidence` to `confidence`: `ignore` looks for "
            "none, `mask` hides them, `report` only lists them, `reject` masks no picture that has any."
        ),
    ] = "ignore"
    mask_confidence: Annotated[
        Share,
        Field(
            description="Lowest score of an uncertain face: needs `uncertain`, and is at most `confidence`, "
            "which takes its place where nothing is said and it is lower."
        ),
    ] = 0.2

    store: Annotated[
        Keep, Field(description="With storage on: keep nothing, the job and its result, or the original too.")
    ] = "both"

    def detect_params(self) -> DetectParams:
        """As the pipeline takes them."""
        return DetectParams(
            self.confidence,
            self.nms_threshold,
            self.max_faces,
            self.detail,
            self.uncertain,
            min(self.mask_confidence, self.confidence),
        )

    @field_validator("mask_confidence")
    @classmethod
    def _suits_the_others(cls, value: float, info: ValidationInfo) -> float:
        """Looks at what was sent; parameters that were refused themselves are missing from `info.data`."""
        if info.data.get("uncertain") == "ignore":
            raise PydanticCustomError(
                "needs_uncertain", "needs uncertain=mask, uncertain=report or uncertain=reject beside it"
            )
        if value > info.data.get("confidence", 1.0):
            raise PydanticCustomError(
                "above_confidence",
                "must not be above confidence, which is {confidence}",
                {"confidence": info.data["confidence"]},
            )
        return value


class Point(BaseModel):
    """Pixels of the upright picture."""

    x: float
    y: float


class BBox(BaseModel):
    """Corners in pixels of the upright picture, clipped to it."""

    x1: float
    y1: float
    x2: float
    y2: float


class Landmarks(BaseModel):
    """Five points, left and right as seen in the picture."""

    left_eye: Point
    right_eye: Point
    nose: Point
    left_mouth: Point
    right_mouth: Point


class Size(BaseModel):
    """Pixels."""

    width: float
    height: float


class RelativeBox(BaseModel):
    """Shares of the picture's width and height."""

    x_center: float
    y_center: float
    width: float
    height: float


class Detection(BaseModel):
    """One face."""

    index: int
    bbox: BBox
    confidence: float
    landmarks: Landmarks | None
    size: Size
    area: float
    center: Point
    relative: RelativeBox


class ImageFacts(BaseModel):
    """The upload, upright."""

    width: int
    height: int
    channels: int
    size_bytes: int


class Summary(BaseModel):
    """All faces together."""

    face_count: int
    avg_confidence: float
    min_confidence: float
    max_confidence: float
    total_face_area: float
    face_area_ratio: float


class Processing(BaseModel):
    """What the picture went through."""

    model: str
    input_size: tuple[int, int]
    confidence_threshold: float
    nms_threshold: float
    inference_ms: float
    total_ms: float


class PassReport(BaseModel):
    """One look of the detector: at the whole picture, at half its size, or at a tile of its own size."""

    kind: PassKind
    width: int
    height: int
    inference_ms: float
    faces_added: int


class Profiling(BaseModel):
    """True times of each stage; together no more than `total_ms`."""

    decode_queue_ms: float
    decode_ms: float
    preprocess_ms: float
    queue_ms: float
    batch_size: int
    blob_ms: float
    inference_ms: float
    postprocess_ms: float
    nms_ms: float
    mask_queue_ms: float | None
    mask_ms: float | None
    encode_ms: float | None
    storage_ms: float | None
    total_ms: float
    candidates_before_nms: int
    candidates_after_nms: int
    det_scale: float
    input_resolution: str
    det_resolution: str
    input_bytes: int
    output_bytes: int | None
    input_pixels: int
    model_name: str
    passes: Annotated[
        list[PassReport] | None,
        Field(
            description="With `detail` other than `fast`: every look in its order, the pixels it saw, the "
            "time of its batch in the session, and the faces that no look before it has."
        ),
    ] = None

    model_config = ConfigDict(protected_namespaces=())


class DetectResponse(BaseModel):
    """Answer of /api/v1/detect."""

    request_id: str
    image_id: str | None
    job_id: str | None
    image: ImageFacts
    detections: list[Detection]
    uncertain: Annotated[
        list[Detection] | None,
        Field(description="With `uncertain`: faces under `confidence`, which nothing else here counts."),
    ] = None
    summary: Summary
    processing: Processing
    profiling: Profiling


def detect_body(
    request_id: str, analysed: Analysed, params: DetectParams, total_ms: float, recorded: Recorded = NOTHING
) -> bytes:
    """JSON of a DetectResponse."""
    return to_json(add_recorded(detect_answer(request_id, analysed, params, total_ms), recorded))


def add_recorded(answer: dict[str, Any], recorded: Recorded) -> dict[str, Any]:
    """The answer itself, with what it says of storage."""
    if recorded.image_id is not None:
        answer |= {"image_id": str(recorded.image_id), "job_id": str(recorded.job_id)}
    if recorded.storage_ms is not None:
        answer["profiling"]["storage_ms"] = round(recorded.storage_ms, 2)
    return answer


def to_json(answer: dict[str, Any]) -> bytes:
    """An answer as it is sent."""
    return json.dumps(answer, separators=(",", ":"), allow_nan=False).encode()


def detect_answer(
    request_id: str, analysed: Analysed, params: DetectParams, total_ms: float
) -> dict[str, Any]:
    """A DetectResponse as plain values."""
    info, inferred = analysed.info, analysed.inferred
    unsure = inferred.uncertain
    found = detection_list(inferred.detections, info)
    scores = [face["confidence"] for face in found]
    area = round(sum(face["area"] for face in found), 2)
    pixels = info.width * info.height
    return {
        "request_id": request_id,
        "image_id": None,
        "job_id": None,
        "image": {
            "width": info.width,
            "height": info.height,
            "channels": info.channels,
            "size_bytes": info.size_bytes,
        },
        "detections": found,
        **({} if unsure is None else {"uncertain": detection_list(unsure, info)}),
        "summary": {
            "face_count": len(found),
            "avg_confidence": round(sum(scores) / len(scores), 4) if scores else 0.0,
            "min_confidence": min(scores, default=0.0),
            "max_confidence": max(scores, default=0.0),
            "total_face_area": area,
            "face_area_ratio": round(area / pixels, 4),
        },
        "processing": {
            "model": inferred.model,
            "input_size": [INPUT_SIZE, INPUT_SIZE],
            "confidence_threshold": params.confidence,
            "nms_threshold": params.nms_threshold,
            "inference_ms": round(inferred.inference_ms, 2),
            "total_ms": round(total_ms, 2),
        },
        "profiling": {
            "decode_queue_ms": round(analysed.decode_queue_ms, 2),
            "decode_ms": round(analysed.decode_ms, 2),
            "preprocess_ms": round(analysed.preprocess_ms, 2),
            "queue_ms": round(inferred.queue_ms, 2),
            "batch_size": inferred.batch_size,
            "blob_ms": round(inferred.blob_ms, 2),
            "inference_ms": round(inferred.inference_ms, 2),
            "postprocess_ms": round(inferred.detections.postprocess_ms, 2),
            "nms_ms": round(inferred.detections.nms_ms, 2),
            "mask_queue_ms": None,
            "mask_ms": None,
            "encode_ms": None,
            "storage_ms": None,
            "total_ms": round(total_ms, 2),
            "candidates_before_nms": inferred.detections.candidates,
            "candidates_after_nms": len(found),
            "det_scale": round(analysed.det_scale, 6),
            "input_resolution": f"{info.width}x{info.height}",
            "det_resolution": f"{INPUT_SIZE}x{INPUT_SIZE}",
            "input_bytes": info.size_bytes,
            "output_bytes": None,
            "input_pixels": pixels,
            "model_name": inferred.model,
            **({"passes": [_pass(one) for one in inferred.passes]} if inferred.passes else {}),
        },
    }


def _pass(one: PassFacts) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "width": one.width,
        "height": one.height,
        "inference_ms": round(one.inference_ms, 2),
        "faces_added": one.faces_added,
    }


def detection_list(detections: Detections, info: ImageInfo) -> list[dict[str, Any]]:
    """Faces as the API shows them: pixels to 1 decimal, everything else derived from those."""
    boxes = detections.boxes.astype(np.float64).round(1).tolist()
    scores = detections.scores.astype(np.float64).round(4).tolist()
    points: Sequence[Any] = (
        [None] * len(boxes)
        if detections.landmarks is None
        else detections.landmarks.astype(np.float64).round(1).tolist()
    )
    return [
        _detection(index, box, score, landmarks, info)
        for index, (box, score, landmarks) in enumerate(zip(boxes, scores, points, strict=True))
    ]


def _detection(
    index: int, box: list[float], score: float, points: list[list[float]] | None, info: ImageInfo
) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    width, height = round(x2 - x1, 1), round(y2 - y1, 1)
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    landmarks = points and {
        name: {"x": point[0], "y": point[1]} for name, point in zip(LANDMARK_NAMES, points, strict=True)
    }
    return {
        "index": index,
        "bbox": {"x1": x1, "y1": y1, "x2": x2, "y2": y2},
        "confidence": score,
        "landmarks": landmarks,
        "size": {"width": width, "height": height},
        "area": round(width * height, 2),
        "center": {"x": round(x, 1), "y": round(y, 1)},
        "relative": {
            "x_center": round(x / info.width, 4),
            "y_center": round(y / info.height, 4),
            "width": round(width / info.width, 4),
            "height": round(height / info.height, 4),
        },
    }
