import asyncio
import io
import json
import uuid
from collections import Counter
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from deployments.errors import MaskingError, OverloadedError, UnencodableError
from deployments.pipeline import LocalPipeline
from deployments.types import Analysed, Anonymised, FacePipeline, MaskParams, ServedModel
from models.errors import FaceError, ModelError
from models.types import DetectParams
from serve_app.app import create_app
from serve_app.schemas.detect import DetectResponse
from serve_app.settings import Settings
from tests.serve_app.conftest import LocalLedger
from tests.tiny_scrfd import red_block_picture

PNG = {"Content-Type": "image/png"}


def png(pixels: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


PICTURE = png(red_block_picture(640, 640, {(2, 3): 255, (8, 9): 220}))


class FailingPipeline:
    """Every call ends with the same error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def served_model(self) -> ServedModel:
        raise self.error

    async def detect(self, data: bytes, params: DetectParams, timeout_s: float) -> Analysed:
        raise self.error

    async def mask(
        self, data: bytes, params: DetectParams, masking: MaskParams, timeout_s: float
    ) -> Anonymised:
        raise self.error


class StuckPipeline(FailingPipeline):
    """Never answers; remembers being cancelled."""

    def __init__(self) -> None:
        super().__init__(OverloadedError("unused"))
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def detect(self, data: bytes, params: DetectParams, timeout_s: float) -> Analysed:
        self.started.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        raise AssertionError


class OneAtATime(LocalPipeline):
    """A slow one."""

    def __init__(self, pipeline: LocalPipeline, seconds: float) -> None:
        super().__init__(pipeline._scrfd, max_pixels=1_000_000)
        self._seconds = seconds
        self._turn = asyncio.Lock()

    async def detect(self, data: bytes, params: DetectParams, timeout_s: float) -> Analysed:
        async with self._turn:
            await asyncio.sleep(self._seconds)
            return await super().detect(data, params, timeout_s)


def app_client(pipeline: FacePipeline, **settings: Any) -> httpx.AsyncClient:
    app = create_app(Settings(api_key_enabled=False, **settings), pipeline, LocalLedger())
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://test"
    )


async def test_detect_answers_as_the_contract_says(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/v1/detect", files={"image": ("x", PICTURE)})
    assert answer.status_code == 200
    body = answer.json()
    DetectResponse.model_validate(body, strict=False)
    best, second = body["detections"]
    assert best["bbox"] == {"x1": 64.0, "y1": 96.0, "x2": 96.0, "y2": 128.0}
    assert best["area"] == 1024.0
    assert best["center"] == {"x": 80.0, "y": 112.0}
    assert best["relative"] == {"x_center": 0.125, "y_center": 0.175, "width": 0.05, "height": 0.05}
    assert best["confidence"] > second["confidence"]
    assert body["summary"]["face_count"] == 2
    assert body["summary"]["total_face_area"] == 2048.0
    assert body["image"] == {"width": 640, "height": 640, "channels": 3, "size_bytes": len(PICTURE)}
    assert body["request_id"] == answer.headers["x-request-id"]


async def test_a_raw_body_gives_the_same_faces_as_multipart(client: httpx.AsyncClient) -> None:
    raw = await client.post("/api/v1/detect", content=PICTURE, headers=PNG)
    multipart = await client.post("/api/v1/detect", files={"image": ("x", PICTURE)})
    assert raw.json()["detections"] == multipart.json()["detections"]


async def test_thresholds_and_max_faces_are_the_requests_own(client: httpx.AsyncClient) -> None:
    for query, count in (({"confidence": 0.99}, 1), ({"max_faces": 1}, 1), ({}, 2)):
        answer = await client.post("/api/v1/detect", content=PICTURE, headers=PNG, params=query)
        assert answer.json()["summary"]["face_count"] == count


async def test_a_picture_without_faces_has_an_empty_list_and_is_encoded_again(
    client: httpx.AsyncClient,
) -> None:
    grey = png(np.full((30, 40, 3), 90, np.uint8))
    summary = (await client.post("/api/v1/detect", content=grey, headers=PNG)).json()["summary"]
    assert summary == {
        "face_count": 0,
        "avg_confidence": 0.0,
        "min_confidence": 0.0,
        "max_confidence": 0.0,
        "total_face_area": 0.0,
        "face_area_ratio": 0.0,
    }
    masked = await client.post("/api/v1/mask", content=grey, headers=PNG)
    assert masked.headers["x-face-count"] == "0"
    assert masked.content[:2] == b"\xff\xd8"


async def test_mask_hides_the_faces_and_tells_how_long_it_took(client: httpx.AsyncClient) -> None:
    query = {"method": "solid", "format": "png", "padding": 0}
    answer = await client.post("/api/v1/mask", content=PICTURE, headers=PNG, params=query)
    pixels = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert pixels.max() == 0
    assert answer.headers["x-face-count"] == "2"
    assert answer.headers["x-model"] == "tiny"
    times = [float(answer.headers[f"x-{stage}-ms"]) for stage in ("inference", "mask", "encode", "total")]
    assert sum(times[:3]) <= times[3]
    stages = dict(entry.split(";dur=") for entry in answer.headers["server-timing"].split(", "))
    total = float(stages.pop("total"))
    assert {"decode", "inference", "mask", "encode"} <= set(stages)
    assert sum(map(float, stages.values())) <= total + 0.1


async def test_a_lossless_mask_is_a_jpeg_of_which_the_rest_is_the_same(client: httpx.AsyncClient) -> None:
    pixels = red_block_picture(640, 640, {(2, 3): 255})
    pixels[400:, 400:] = np.arange(240, dtype=np.uint8)[:, None]
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=70, subsampling=0, progressive=True)
    query = {"method": "solid", "padding": 0, "lossless": True}
    answer = await client.post("/api/v1/mask", files={"image": ("x", file.getvalue())}, params=query)
    assert answer.status_code == 200
    assert answer.headers["x-lossless"] == "true"
    assert answer.headers["content-type"] == "image/jpeg"
    before, after = (np.asarray(Image.open(io.BytesIO(data))) for data in (file.getvalue(), answer.content))
    assert after[96:128, 64:96].max() < 16
    assert np.array_equal(after[128:], before[128:])
    assert "x-lossless" not in (await client.post("/api/v1/mask", content=PICTURE, headers=PNG)).headers


async def test_lossless_is_refused_where_it_cannot_be_kept(client: httpx.AsyncClient) -> None:
    for status, query in ((415, {"lossless": True}), (422, {"lossless": True, "format": "png"})):
        answer = await client.post("/api/v1/mask", content=PICTURE, headers=PNG, params=query)
        assert answer.status_code == status
        assert "lossless=true" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("confidence=2", "confidence"),
        ("confidence=nan", "confidence"),
        ("confidence=0.5abc", "confidence"),
        ("nms_threshold=0", "nms_threshold"),
        ("max_faces=-1", "max_faces"),
        ("method=sepia", "method"),
        ("strength=0", "strength"),
        ("padding=inf", "padding"),
        ("format=gif", "format"),
        ("quality=101", "quality"),
        ("lossless=perhaps", "lossless"),
    ],
)
async def test_a_parameter_out_of_range_is_a_422_that_names_it(
    client: httpx.AsyncClient, query: str, name: str
) -> None:
    answer = await client.post(f"/api/v1/mask?{query}", content=PICTURE, headers=PNG)
    assert answer.status_code == 422
    assert name in answer.json()["detail"]


async def test_every_kind_of_bad_body_has_its_status(client: httpx.AsyncClient) -> None:
    multipart = {"Content-Type": "multipart/form-data; boundary=b"}
    cases: list[tuple[bytes, dict[str, str], int]] = [
        (b"", PNG, 400),
        (PICTURE[:200], PNG, 400),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", PNG, 415),
        (PICTURE, {"Content-Type": "application/json"}, 415),
        (PICTURE, {}, 415),
        (PICTURE, {**PNG, "Content-Encoding": "gzip"}, 415),
        (b"x" * 200_001, PNG, 413),
        (b"nonsense", multipart, 422),
        (b"--b\r\n", multipart, 422),
        (b'--b\r\nContent-Disposition: form-data; name="other"\r\n\r\nx\r\n--b--\r\n', multipart, 422),
        (b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\n\r\n--b--\r\n', multipart, 400),
        (b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\nx\r\n' * 50 + b"--b--\r\n", multipart, 422),
        (PICTURE, {"Content-Type": "multipart/form-data"}, 422),
    ]
    for body, headers, status in cases:
        answer = await client.post("/api/v1/detect", content=body, headers=headers)
        assert answer.status_code == status, (body[:40], headers, answer.text)
        assert set(answer.json()) == {"detail"}


async def test_a_body_without_length_is_cut_off_at_the_limit(client: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while sent < 100 * 2**20:
            sent += 2**16
            yield b"x" * 2**16

    answer = await client.post("/api/v1/detect", content=endless(), headers=PNG)
    assert answer.status_code == 413


async def test_a_picture_over_the_pixel_limit_is_refused_from_its_header(client: httpx.AsyncClient) -> None:
    large = png(np.zeros((1100, 1000, 3), np.uint8))
    answer = await client.post("/api/v1/detect", content=large, headers=PNG)
    assert answer.status_code == 413
    assert "1000" in answer.json()["detail"]


async def test_unknown_paths_and_methods_wear_the_envelope(client: httpx.AsyncClient) -> None:
    missing = await client.get("/nowhere")
    assert (missing.status_code, set(missing.json())) == (404, {"detail"})
    wrong = await client.get("/api/v1/detect")
    assert (wrong.status_code, set(wrong.json())) == (405, {"detail"})
    assert wrong.headers["allow"] == "POST"


async def test_an_incoming_uuid_is_kept_and_anything_else_replaced(client: httpx.AsyncClient) -> None:
    mine = str(uuid.uuid4())
    assert (await client.get("/livez", headers={"X-Request-Id": mine})).headers["x-request-id"] == mine
    for bad in ("1", "x" * 5000, "{" + mine + "}", mine.replace("-", "")):
        answer = await client.get("/livez", headers={"X-Request-Id": bad})
        assert answer.headers.get_list("x-request-id") != [bad]
        uuid.UUID(answer.headers["x-request-id"])


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OverloadedError("full"), 503),
        (ModelError("no weights in /secret/path"), 503),
        (MaskingError("region 3 at /secret/path"), 500),
        (FaceError("/secret/path"), 500),
        (UnencodableError("too long for webp"), 422),
        (ValueError("/secret/path"), 500),
    ],
)
async def test_a_failing_stage_is_an_error_that_tells_no_secret(error: Exception, status: int) -> None:
    async with app_client(FailingPipeline(error)) as http:
        answer = await http.post("/api/v1/mask", content=PICTURE, headers=PNG)
        assert answer.status_code == status
        assert set(answer.json()) == {"detail"}
        assert "secret" not in answer.text
        assert "x-request-id" in answer.headers
        assert ("retry-after" in answer.headers) == (status == 503)


async def test_readiness_and_health_fail_while_no_detector_answers() -> None:
    async with app_client(FailingPipeline(ModelError("no"))) as http:
        for path in ("/health", "/readyz"):
            answer = await http.get(path)
            assert answer.status_code == 503
            assert "retry-after" in answer.headers
        assert (await http.get("/health")).json()["status"] == "degraded"
        assert (await http.get("/livez")).status_code == 200


async def test_the_deadline_is_a_504_and_ends_the_work() -> None:
    pipeline = StuckPipeline()
    async with app_client(pipeline, request_timeout_s=0.2) as http:
        answer = await http.post("/api/v1/detect", content=PICTURE, headers=PNG)
    assert answer.status_code == 504
    assert pipeline.cancelled.is_set()


async def test_requests_over_the_bound_are_refused_and_places_come_back() -> None:
    pipeline = StuckPipeline()
    async with app_client(pipeline, max_in_flight=1, request_timeout_s=1.0) as http:
        first = asyncio.create_task(http.post("/api/v1/detect", content=PICTURE, headers=PNG))
        await pipeline.started.wait()
        refused = await http.post("/api/v1/detect", content=PICTURE, headers=PNG)
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert (await first).status_code == 504
        assert (await http.post("/api/v1/detect", content=b"", headers=PNG)).status_code == 400


async def test_a_picture_that_would_wait_too_long_is_refused_at_once(pipeline: LocalPipeline) -> None:
    async with app_client(OneAtATime(pipeline, 0.03), request_timeout_s=0.5) as http:

        async def send() -> int:
            return (await http.post("/api/v1/detect", content=PICTURE, headers=PNG)).status_code

        for _ in range(48):
            assert await send() == 200
        sent = []
        for _ in range(40):
            sent.append(asyncio.create_task(send()))
            await asyncio.sleep(0.001)  # it is in the stages before the next one comes
        statuses = Counter(await asyncio.gather(*sent))
    assert statuses[200] > 0
    assert statuses[503] > 0


async def test_a_client_that_leaves_cancels_its_work() -> None:
    pipeline = StuckPipeline()
    app = create_app(Settings(api_key_enabled=False), pipeline, LocalLedger())
    messages = [{"type": "http.request", "body": PICTURE, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await pipeline.started.wait()
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        pass

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/v1/detect",
        "raw_path": b"/api/v1/detect",
        "query_string": b"",
        "headers": [(b"content-type", b"image/png")],
    }
    await asyncio.wait_for(app(scope, receive, send), 5)
    assert pipeline.cancelled.is_set()


async def test_the_documentation_comes_from_this_server(client: httpx.AsyncClient) -> None:
    for page in ("/docs", "/redoc"):
        html = (await client.get(page)).text
        assert "https://" not in html.replace("https://fastapi.tiangolo.com", "")
    assert (await client.get("/docs/assets/swagger-ui-bundle.js")).status_code == 200


async def test_openapi_describes_bodies_statuses_and_headers(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    mask = document["paths"]["/api/v1/mask"]["post"]
    failures = {"400", "401", "403", "404", "413", "415", "422", "429", "500", "501", "503", "504"}
    assert set(mask["responses"]) == {"200", *failures}
    assert mask["security"] == [{"ApiKey": []}]
    kinds = {"image/jpeg", "image/png", "image/webp", "application/json"}
    assert set(mask["responses"]["200"]["content"]) == kinds
    assert "X-Face-Count" in mask["responses"]["200"]["headers"]
    assert set(mask["requestBody"]["content"]) == {"multipart/form-data", "image/*"}
    names = {parameter["name"]: parameter["schema"].get("default") for parameter in mask["parameters"]}
    assert names == {
        "confidence": 0.5,
        "nms_threshold": 0.4,
        "max_faces": 0,
        "detail": "fast",
        "uncertain": "ignore",
        "mask_confidence": 0.2,
        "store": "both",
        "method": "gaussian",
        "strength": 199,
        "padding": 0.15,
        "format": "jpeg",
        "quality": 95,
        "shape": None,
        "fill": None,
        "strength_floor": "on",
        "min_face": 0,
        "regions": None,
        "skip": None,
        "only": None,
        "face_count": None,
        "image_id": None,
        "lossless": False,
        "verify": False,
        "receipt": False,
    }
    json.dumps(document, allow_nan=False)
