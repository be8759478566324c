"""What the OpenAPI document says beyond the signatures: bodies, statuses, headers, examples, authority."""

from typing import Any, Final, Literal

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.responses import Response

from serve_app.samples import as_markdown, code_samples
from serve_app.schemas.batch import BatchLine, BatchManifest
from serve_app.schemas.detect import DetectResponse
from serve_app.schemas.errors import ErrorResponse
from serve_app.schemas.health import HealthResponse
from serve_app.schemas.mask import MaskResponse, ReceiptResponse

REASONS: Final = {
    400: "The upload is empty, truncated or corrupt.",
    401: "The API key, the session, or user name and password are missing or wrong.",
    403: "The API key was revoked, or another site's page sent this.",
    404: "There is nothing with this id, or no such page.",
    413: "The body or the picture is larger than this server accepts.",
    415: "The bytes are none of the input formats, or no JPEG that `lossless=true` takes, or the body's type "
    "is not one we read.",
    422: "A parameter or a field is out of range, missing, or no JSON; or `uncertain=reject` found some.",
    429: "The rate limit is used up, or the address is locked out.",
    500: "The picture could not be processed.",
    501: "What this needs is switched off here.",
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
    "X-Face-Count": (
        "Faces of at least `confidence`: all are hidden, less X-Faces-Skipped.",
        "integer",
    ),
    "X-Uncertain-Faces": (
        "Faces under `confidence`, where `uncertain` looks for them; `mask` hid them, `report` did not.",
        "integer",
    ),
    "X-Residual-Faces": (
        "With `verify`: faces still found in the first masked picture, and hidden harder since.",
        "integer",
    ),
    "X-Faces-Skipped": (
        "Faces left as they are, by `skip`, `only` or `min_face`; missing when none.",
        "integer",
    ),
    "X-Strength-Raised": (
        "Faces and regions hidden more strongly than asked, see `strength_floor`; missing when none.",
        "integer",
    ),
    "X-Inference-Ms": ("Milliseconds in the detector's session.", "number"),
    "X-Mask-Ms": ("Milliseconds spent hiding faces.", "number"),
    "X-Encode-Ms": ("Milliseconds spent encoding.", "number"),
    "X-Total-Ms": ("Milliseconds from the last body byte to the result.", "number"),
    "X-Model": ("The model that was used.", "string"),
    "X-Lossless": ("`true` when nothing but the blocks under masks was encoded anew.", "string"),
    "X-Image-Id": ("With storage on: the stored picture, once all of it is stored.", "string"),
    "X-Job-Id": ("With storage on: what was done to it.", "string"),
    "Server-Timing": ("Milliseconds of every stage (W3C Server Timing).", "string"),
}
RATE_LIMIT: Final = {
    "RateLimit-Limit": {"description": "Requests of one period.", "schema": {"type": "integer"}},
    "RateLimit-Remaining": {"description": "Requests left of it.", "schema": {"type": "integer"}},
    "RateLimit-Reset": {"description": "Seconds until it begins anew.", "schema": {"type": "integer"}},
}
API_KEY: Final = "ApiKey"
SECURITY_SCHEMES: Final = {
    API_KEY: {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "AdminSession": {"type": "apiKey", "in": "cookie", "name": "face_api_session"},
    "AdminBasic": {"type": "http", "scheme": "basic"},
}
OPEN_PATHS: Final = frozenset({"/health", "/livez", "/readyz", "/api/v1/receipts/key"})
OPEN_ADMIN_PATHS: Final = frozenset({"/api/v1/admin/auth/login", "/api/v1/admin/auth/logout"})
REFERENCE: Final = "#/components/schemas/{model}"
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
BATCH_UPLOAD: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "Pictures as parts `image` of a form, or as files of a zip.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {"image": {"type": "array", "items": PICTURE, "minItems": 1}},
                }
            },
            "application/zip": {"schema": {"type": "string", "format": "zip"}},
        },
    }
}
MASK_UPLOAD: Final[dict[str, Any]] = {
    "requestBody": {
        "required": False,  # with image_id there is none
        "description": UPLOAD["requestBody"]["description"]
        + " `fill_image` is for `fill=image`: a JPEG, PNG, "
        "WebP or GIF of at most 256 KiB and a megapixel.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {"image": PICTURE, "fill_image": PICTURE},
                }
            },
            "image/*": {"schema": PICTURE},
        },
    }
}
UPLOAD_FAILURES: Final = (400, 401, 403, 413, 415, 422, 429, 500, 501, 503, 504)
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
        "headers": {**REQUEST_ID, **RATE_LIMIT},
        "content": {"application/json": {"example": DETECT_EXAMPLE}},
    }
    return {"responses": {200: ok, **_failures(*UPLOAD_FAILURES)}, **_with_samples("detect", UPLOAD)}


def mask_docs() -> dict[str, Any]:
    """Arguments of the mask route."""
    headers = {
        name: {"description": description, "schema": {"type": kind}}
        for name, (description, kind) in MASK_HEADERS.items()
    }
    ok = {
        "description": "The picture with every face hidden, without metadata.",
        "headers": {**REQUEST_ID, **RATE_LIMIT, **headers},
        "model": ReceiptResponse,  # with `receipt=true`
        "content": {f"image/{kind}": {"schema": PICTURE} for kind in ("jpeg", "png", "webp")},
    }
    return {
        "responses": {200: ok, **_failures(*UPLOAD_FAILURES, 404)},
        "response_class": Response,
        **_with_samples("mask", MASK_UPLOAD),
    }


def batch_docs() -> dict[str, Any]:
    """Arguments of the batch route."""
    count = {"description": "Pictures in the batch.", "schema": {"type": "integer"}}
    ok = {
        "description": "What became of each picture, as they are done; each has a status of its own.",
        "headers": {**REQUEST_ID, **RATE_LIMIT, "X-Item-Count": count},
        "content": {
            "application/x-ndjson": {"schema": {"$ref": REFERENCE.format(model="BatchLine")}},
            "application/zip": {"schema": {"type": "string", "format": "binary"}},
        },
    }
    return {
        "responses": {200: ok, **_failures(*UPLOAD_FAILURES)},
        "response_class": Response,
        **_with_samples("batch", BATCH_UPLOAD),
    }


def detect_test_docs() -> dict[str, Any]:
    """Arguments of the detect test route."""
    ok = {"description": "The faces.", "model": DetectResponse, "headers": REQUEST_ID}
    return {"responses": {200: ok, **_failures(*UPLOAD_FAILURES)}, "openapi_extra": UPLOAD}


def mask_test_docs() -> dict[str, Any]:
    """Arguments of the mask test route."""
    ok = {"description": "The faces and the masked picture.", "model": MaskResponse, "headers": REQUEST_ID}
    return {"responses": {200: ok, **_failures(*UPLOAD_FAILURES)}, "openapi_extra": MASK_UPLOAD}


def admin_failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Responses of an admin route: these, and what may happen to each of them."""
    return _failures(*statuses, 429, 500, 501, 503)


def picture_docs(kind: str) -> dict[str, Any]:
    """Arguments of an admin route that answers with a picture of this kind; `*` is any."""
    headers = {
        "Cache-Control": {"description": "Private, for some minutes.", "schema": {"type": "string"}},
        "Content-Security-Policy": {"description": "Nothing in it may run.", "schema": {"type": "string"}},
    }
    ok = {
        "description": "The picture.",
        "headers": {**REQUEST_ID, **headers},
        "content": {f"image/{kind}": {"schema": PICTURE}},
    }
    return {
        "response_class": Response,
        "responses": {200: ok, **admin_failures(400, 401, 404, 413, 415, 422)},
    }


def redirect_docs(description: str, *statuses: int) -> dict[str, Any]:
    """Arguments of an admin route that answers with a link to go to, or fails with one of these."""
    headers = {
        "Location": {"description": "The link.", "schema": {"type": "string", "format": "uri"}},
        "Cache-Control": {"description": "`no-store`: the link ends soon.", "schema": {"type": "string"}},
    }
    redirect = {"description": description, "headers": {**REQUEST_ID, **headers}}
    return {
        "status_code": 302,
        "response_class": Response,
        "responses": {302: redirect, **admin_failures(*statuses)},
    }


def add_security(app: FastAPI) -> None:
    """Say in the document what each route needs: nothing, an API key, or an administrator."""
    build = app.openapi

    def with_security() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = build()
            components = document.setdefault("components", {})
            components["securitySchemes"] = SECURITY_SCHEMES
            components["schemas"] |= _streamed_schemas()
            for path, operations in document["paths"].items():
                for operation in operations.values():
                    operation["security"] = _security(path)
        return build()

    app.openapi = with_security  # type: ignore[method-assign] # FastAPI's documented way


def _streamed_schemas() -> dict[str, Any]:
    """Models of what is sent in pieces: FastAPI knows only those of whole answers."""
    models: list[tuple[type[BaseModel], Literal["serialization"]]] = [
        (BatchLine, "serialization"),
        (BatchManifest, "serialization"),
    ]
    _, definitions = models_json_schema(models, ref_template=REFERENCE)
    schemas: dict[str, Any] = definitions["$defs"]
    return schemas


def _security(path: str) -> list[dict[str, list[str]]]:
    if path in OPEN_PATHS or path in OPEN_ADMIN_PATHS:
        return []
    if path.startswith("/api/v1/admin/"):
        return [{"AdminSession": []}, {"AdminBasic": []}]
    return [{API_KEY: []}]


def receipt_key_docs() -> dict[str, Any]:
    """Arguments of the route that shows the public key of receipts."""
    ok = {"description": "An Ed25519 key as a JWK (RFC 8037).", "headers": REQUEST_ID}
    return {"responses": {200: ok, **_failures(500, 501)}}


def health_docs() -> dict[str, Any]:
    """Arguments of the health route."""
    ready = {
        "description": "Everything that is switched on is ready.",
        "model": HealthResponse,
        "headers": REQUEST_ID,
    }
    degraded = {
        "description": "Something is not ready.",
        "model": HealthResponse,
        "headers": {**REQUEST_ID, **RETRY_AFTER},
    }
    return {"responses": {200: ready, 503: degraded}, **_with_samples("health", {})}


def livez_docs() -> dict[str, Any]:
    """Arguments of the livez route."""
    return {"responses": {200: {"description": "This process answers.", "headers": REQUEST_ID}}}


def readyz_docs() -> dict[str, Any]:
    """Arguments of the readyz route."""
    ready = {"description": "A picture went through recently.", "headers": REQUEST_ID}
    return {"responses": {200: ready, 503: _failure(503)}}


def _with_samples(call: str, extra: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a route that show its samples, in ReDoc and in Swagger UI."""
    samples = code_samples(call)
    return {"description": as_markdown(samples), "openapi_extra": {**extra, "x-codeSamples": samples}}


def _failures(*statuses: int) -> dict[int | str, Any]:
    return {status: _failure(status) for status in sorted(set(statuses))}


def _failure(status: int) -> dict[str, Any]:
    headers = {**REQUEST_ID, **(RETRY_AFTER if status in {429, 503} else {})}
    return {"description": REASONS[status], "model": ErrorResponse, "headers": headers}
