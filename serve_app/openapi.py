"""What the OpenAPI document says beyond the signatures: bodies, statuses, headers, examples."""

from typing import Any, Final

from starlette.responses import Response

from serve_app.schemas.detect import DetectResponse
from serve_app.schemas.errors import ErrorResponse

REASONS: Final = {
    400: "The upload is empty, truncated or corrupt.",
    404: "There is no such path.",
    413: "The body or the picture is larger than this server accepts.",
    415: "The bytes are none of the input formats, or the body's type is not one we read.",
    422: "A parameter is out of range, or the part `image` is missing.",
    500: "The picture could not be processed.",
    503: "At the limit, or not ready; `Retry-After` says when to come back.",
    504: "The request's deadline passed.",
}
REQUEST_ID: Final = {
    "X-Request-Id": {
        "description": "Names this request in the server's log; an incoming UUID is kept.",
        "schema": {"type": "string", "format": "uuid"},
    }
}
RETRY_AFTER: Final = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}}
MASK_HEADERS: Final = {
    "X-Face-Count": ("Faces that were hidden.", "integer"),
    "X-Inference-Ms": ("Milliseconds in the detector's session.", "number"),
    "X-Mask-Ms": ("Milliseconds spent hiding faces.", "number"),
    "X-Encode-Ms": ("Milliseconds spent encoding.", "number"),
    "X-Total-Ms": ("Milliseconds from the last body byte to the result.", "number"),
    "X-Model": ("The model that was used.", "string"),
    "Server-Timing": ("Milliseconds of every stage (W3C Server Timing).", "string"),
}
PICTURE: Final = {"type": "string", "format": "binary"}
UPLOAD: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "A JPEG, PNG, WebP, BMP, TIFF, GIF, HEIC or AVIF picture; the bytes decide.",
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "required": ["image"], "properties": {"image": PICTURE}}
            },
            "image/*": {"schema": PICTURE},
        },
    }
}
DETECT_EXAMPLE: Final[dict[str, Any]] = {
    "request_id": "6f1d0c52-1d1e-4b53-9a52-0f6a3ad0a6a4",
    "image_id": None,
    "job_id": None,
    "image": {"width": 1920, "height": 1080, "channels": 3, "size_bytes": 245760},
    "detections": [
        {
            "index": 0,
            "bbox": {"x1": 100.5, "y1": 200.3, "x2": 300.1, "y2": 400.7},
            "confidence": 0.9876,
            "landmarks": {
                "left_eye": {"x": 150.2, "y": 250.1},
                "right_eye": {"x": 250.3, "y": 248.9},
                "nose": {"x": 200.1, "y": 310.5},
                "left_mouth": {"x": 160.7, "y": 360.2},
                "right_mouth": {"x": 240.5, "y": 358.8},
            },
            "size": {"width": 199.6, "height": 200.4},
            "area": 39999.84,
            "center": {"x": 200.3, "y": 300.5},
            "relative": {"x_center": 0.1043, "y_center": 0.2782, "width": 0.104, "height": 0.1856},
        }
    ],
    "summary": {
        "face_count": 1,
        "avg_confidence": 0.9876,
        "min_confidence": 0.9876,
        "max_confidence": 0.9876,
        "total_face_area": 39999.84,
        "face_area_ratio": 0.0193,
    },
    "processing": {
        "model": "scrfd_10g",
        "input_size": [640, 640],
        "confidence_threshold": 0.5,
        "nms_threshold": 0.4,
        "inference_ms": 12.34,
        "total_ms": 18.56,
    },
    "profiling": {
        "decode_ms": 3.21,
        "preprocess_ms": 1.05,
        "queue_ms": 0.4,
        "batch_size": 1,
        "blob_ms": 0.3,
        "inference_ms": 12.34,
        "postprocess_ms": 0.45,
        "nms_ms": 0.12,
        "mask_ms": None,
        "encode_ms": None,
        "storage_ms": None,
        "total_ms": 18.56,
        "candidates_before_nms": 15,
        "candidates_after_nms": 1,
        "det_scale": 0.333333,
        "input_resolution": "1920x1080",
        "det_resolution": "640x640",
        "input_bytes": 245760,
        "output_bytes": None,
        "input_pixels": 2073600,
        "model_name": "scrfd_10g",
    },
}


def detect_docs() -> dict[str, Any]:
    """Arguments of the detect route."""
    ok = {
        "description": "The faces, highest confidence first.",
        "model": DetectResponse,
        "headers": REQUEST_ID,
        "content": {"application/json": {"example": DETECT_EXAMPLE}},
    }
    return {"responses": {200: ok, **_failures()}, "openapi_extra": UPLOAD}


def mask_docs() -> dict[str, Any]:
    """Arguments of the mask route."""
    headers = {
        name: {"description": description, "schema": {"type": kind}}
        for name, (description, kind) in MASK_HEADERS.items()
    }
    ok = {
        "description": "The picture with every face hidden, without metadata.",
        "headers": {**REQUEST_ID, **headers},
        "content": {f"image/{kind}": {"schema": PICTURE} for kind in ("jpeg", "png", "webp")},
    }
    return {
        "responses": {200: ok, **_failures()},
        "openapi_extra": UPLOAD,
        "response_class": Response,
    }


def health_docs() -> dict[str, Any]:
    """Arguments of the health route."""
    ready = {"description": "Everything that is switched on is ready.", "headers": REQUEST_ID}
    degraded = {"description": "Something is not ready.", "headers": {**REQUEST_ID, **RETRY_AFTER}}
    return {"responses": {200: ready, 503: degraded}}


def livez_docs() -> dict[str, Any]:
    """Arguments of the livez route."""
    return {"responses": {200: {"description": "This process answers.", "headers": REQUEST_ID}}}


def readyz_docs() -> dict[str, Any]:
    """Arguments of the readyz route."""
    ready = {"description": "A picture went through recently.", "headers": REQUEST_ID}
    return {"responses": {200: ready, 503: _failure(503)}}


def _failures() -> dict[int | str, Any]:
    return {status: _failure(status) for status in REASONS if status != 404}


def _failure(status: int) -> dict[str, Any]:
    headers = {**REQUEST_ID, **(RETRY_AFTER if status == 503 else {})}
    return {"description": REASONS[status], "model": ErrorResponse, "headers": headers}
