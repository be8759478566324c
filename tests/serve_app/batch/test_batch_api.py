import asyncio
import base64
import io
import json
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from deployments.errors import MaskingError, OverloadedError
from deployments.pipeline import LocalPipeline
from deployments.types import Analysed, Anonymised, FacePipeline, MaskParams, ServedModel
from models.types import DetectParams
from serve_app.app import create_app
from serve_app.schemas.batch import BatchLine, BatchManifest
from serve_app.schemas.detect import DetectResponse
from serve_app.schemas.mask import MaskResponse
from serve_app.settings import Settings
from tests.serve_app.conftest import LocalLedger
from tests.tiny_scrfd import red_block_picture

PATH = "/api/v1/batch"
SOLID = {"method": "solid", "padding": "0", "format": "png"}


def png(*cells: tuple[int, int]) -> bytes:
    """A picture with a face in each of these cells."""
    file = io.BytesIO()
    Image.fromarray(red_block_picture(640, 640, dict.fromkeys(cells, 255))).save(file, "PNG")
    return file.getvalue()


def form(*files: tuple[str, bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("image", file) for file in files]


def zipped(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def lines_of(answer: httpx.Response) -> list[dict[str, Any]]:
    """The answer's lines in the order of the request."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    for line in lines:
        BatchLine.model_validate(line, strict=False)
    return sorted(lines, key=lambda line: int(line["index"]))


def pixels(data: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(data)))


@asynccontextmanager
async def service(pipeline: FacePipeline, **given: Any) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(**{"api_key_enabled": False, "max_upload_bytes": 200_000, **given})
    app = create_app(settings, pipeline, LocalLedger(settings))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        yield http


class FakePipeline:
    """Holds every picture until it is let go; fails those that say so."""

    def __init__(self, real: LocalPipeline) -> None:
        self.real = real
        self.at_work = 0
        self.most_at_work = 0
        self.begun = 0
        self.cancelled = 0
        self.go_on = asyncio.Event()
        self.errors: dict[bytes, Exception] = {}

    async def served_model(self) -> ServedModel:
        return await self.real.served_model()

    async def detect(self, data: bytes, params: DetectParams, timeout_s: float) -> Analysed:
        await self._wait(data)
        return await self.real.detect(data, params, timeout_s)

    async def mask(
        self, data: bytes, params: DetectParams, masking: MaskParams, timeout_s: float
    ) -> Anonymised:
        await self._wait(data)
        return await self.real.mask(data, params, masking, timeout_s)

    async def _wait(self, data: bytes) -> None:
        self.begun += 1
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.at_work -= 1
        if data in self.errors:
            raise self.errors[data]


@pytest.fixture
def fake(pipeline: LocalPipeline) -> FakePipeline:
    return FakePipeline(pipeline)


async def test_each_picture_of_a_form_is_masked_and_has_its_own_line(client: httpx.AsyncClient) -> None:
    files = form(("a.png", png((2, 3))), ("b.png", png()), ("c.png", png((4, 5), (9, 9))))
    lines = lines_of(await client.post(PATH, files=files, params=SOLID))
    assert [line["filename"] for line in lines] == ["a.png", "b.png", "c.png"]
    assert [line["status"] for line in lines] == [200, 200, 200]
    assert [line["result"]["summary"]["face_count"] for line in lines] == [1, 0, 2]
    for line in lines:
        result = MaskResponse.model_validate(line["result"], strict=False)
        assert pixels(base64.b64decode(result.output.image_base64)).max() == 0


async def test_detect_finds_the_faces_of_each_picture_of_a_zip(client: httpx.AsyncClient) -> None:
    body = zipped({"one.png": png((2, 3)), "sub/": b"", "sub/two.png": png((1, 1), (5, 5))})
    answer = await client.post(
        PATH, content=body, headers={"Content-Type": "application/zip"}, params={"task": "detect"}
    )
    lines = lines_of(answer)
    assert [(line["filename"], line["result"]["summary"]["face_count"]) for line in lines] == [
        ("one.png", 1),
        ("sub/two.png", 2),
    ]
    DetectResponse.model_validate(lines[0]["result"], strict=False)
    assert answer.headers["x-item-count"] == "2"
    assert "image_base64" not in answer.text


async def test_a_zip_answer_holds_the_masked_pictures_and_ends_with_its_manifest(
    client: httpx.AsyncClient,
) -> None:
    files = form(("a.png", png((2, 3))), ("notes.txt", b"no picture"), ("A.png", png((1, 1))), ("", png()))
    answer = await client.post(PATH, files=files, params={**SOLID, "answer": "zip"})
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        names = archive.namelist()
        assert names[-1] == "manifest.json"
        manifest = BatchManifest.model_validate_json(archive.read("manifest.json"))
        assert manifest.request_id == answer.headers["x-request-id"]
        assert [entry.status for entry in manifest.items] == [200, 415, 200, 200]
        assert [entry.face_count for entry in manifest.items] == [1, None, 1, 0]
        outputs = [entry.output for entry in manifest.items]
        assert outputs[1] is None
        assert sorted(filter(None, outputs)) == sorted(names[:-1])
        assert len({name.lower() for name in names}) == len(names) == 4
        assert all(pixels(archive.read(name)).max() == 0 for name in names[:-1])


async def test_a_picture_that_fails_says_why_and_the_others_go_on(client: httpx.AsyncClient) -> None:
    large = png_of_size(1100, 1000)
    files = form(
        ("good.png", png((2, 3))),
        ("empty.png", b""),
        ("broken.png", png((2, 3))[:300]),
        ("text.jpg", b"hello"),
        ("bytes.png", b"\x89PNG\r\n\x1a\n" + b"x" * 200_001),
        ("pixels.png", large),
        ("good too.png", png((2, 3))),
    )
    answer = await client.post(PATH, files=files, params=SOLID)
    lines = lines_of(answer)
    assert [line["status"] for line in lines] == [200, 400, 400, 415, 413, 413, 200]
    for line in lines[1:6]:
        assert line["result"] is None
        assert line["detail"]
    assert answer.text.count("image_base64") == 2


def png_of_size(height: int, width: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


async def test_a_stage_that_fails_tells_no_secret_and_no_picture(fake: FakePipeline) -> None:
    fake.go_on.set()
    pictures = [png((column, 2)) for column in range(4)]
    fake.errors = {
        pictures[0]: MaskingError("/secret/path"),
        pictures[1]: ValueError("/secret/path"),
        pictures[2]: OverloadedError("full"),
    }
    async with service(fake) as http:
        answer = await http.post(PATH, files=form(*(("x.png", data) for data in pictures)), params=SOLID)
    lines = lines_of(answer)
    assert [line["status"] for line in lines] == [500, 500, 503, 200]
    assert lines[2]["retry_after_s"] == 1
    assert "secret" not in answer.text
    assert answer.text.count("image_base64") == 1


async def test_hostile_names_in_a_zip_are_refused_and_lead_nowhere_in_the_answer(
    client: httpx.AsyncClient,
) -> None:
    names = ["../up.png", "/etc/passwd.png", "C:/x.png", "a/../../b.png", "fine/ok.png"]
    body = zipped({name: png((2, 3)) for name in names} | {"nested.zip": zipped({"a.png": png((2, 3))})})
    answer = await client.post(
        PATH,
        content=body,
        headers={"Content-Type": "application/zip"},
        params={**SOLID, "answer": "zip"},
    )
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ["fine/ok.png", "manifest.json"]
        manifest = BatchManifest.model_validate_json(archive.read("manifest.json"))
    assert [entry.status for entry in manifest.items] == [422, 422, 422, 422, 200, 415]


async def test_hostile_names_in_a_form_are_names_in_one_folder(client: httpx.AsyncClient) -> None:
    files = form(("../../etc/a.png", png()), ("C:\\b.png", png()), ("\x00..", png()))
    answer = await client.post(PATH, files=files, params={**SOLID, "answer": "zip"})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        for name in archive.namelist():
            assert ".." not in name.split("/")
            assert not name.startswith("/")
            assert ":" not in name


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"", "application/zip", 422),
        (b"nonsense", "application/zip", 422),
        (zipped({}), "application/zip", 422),
        (zipped({"folder/": b""}), "application/zip", 422),
        (zipped({f"{number}": b"x" for number in range(6)}), "application/zip", 413),
        (zipped({"a": b"\0" * 600_000, "b": b"\0" * 600_000}), "application/zip", 413),  # 1.2 kB as sent
        (b"x" * 2_000_000, "application/zip", 413),
        (b"x", "image/png", 415),
        (b"--b\r\n", "multipart/form-data; boundary=b", 422),
        (b"--b--\r\n", "multipart/form-data; boundary=b", 422),
    ],
)
async def test_a_batch_that_is_wrong_as_a_whole_is_refused_as_a_whole(
    pipeline: LocalPipeline, content: bytes, content_type: str, status: int
) -> None:
    async with service(pipeline, batch_max_items=5, batch_max_bytes=1_000_000) as http:
        answer = await http.post(PATH, content=content, headers={"Content-Type": content_type})
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"detail"}


async def test_more_pictures_or_bytes_than_a_form_may_hold_are_a_413(pipeline: LocalPipeline) -> None:
    async with service(pipeline, batch_max_items=3, batch_max_bytes=300_000) as http:
        many = await http.post(PATH, files=form(*[("x.png", png())] * 4))
        assert many.status_code == 413
        assert "3" in many.json()["detail"]
        large = await http.post(PATH, files=form(*[("x.png", b"\x89PNG" + b"x" * 190_000)] * 3))
        assert large.status_code == 413
        assert "300000" in large.json()["detail"]
        assert len(lines_of(await http.post(PATH, files=form(*[("x.png", png())] * 3)))) == 3


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ({"task": "blur"}, "task"),
        ({"answer": "tar"}, "answer"),
        ({"task": "detect", "answer": "zip"}, "answer"),
        ({"confidence": "2"}, "confidence"),
        ({"strength": "0"}, "strength"),
        ({"skip": "[0]", "face_count": "1"}, "skip"),
        ({"only": "[]", "face_count": "1"}, "only"),
    ],
)
async def test_a_wrong_parameter_is_a_422_that_names_it(
    client: httpx.AsyncClient, query: dict[str, str], name: str
) -> None:
    answer = await client.post(PATH, files=form(("x.png", png())), params=query)
    assert answer.status_code == 422
    assert name in answer.json()["detail"]


async def test_each_picture_counts_as_a_request_and_those_over_the_limit_get_429(
    pipeline: LocalPipeline,
) -> None:
    async with service(pipeline, rate_limit_mask="5/minute", rate_limit_detect="100/minute") as http:
        answer = await http.post(PATH, files=form(*[("x.png", png((2, 3)))] * 7), params=SOLID)
        lines = lines_of(answer)
        assert [line["status"] for line in lines] == [200] * 5 + [429] * 2
        assert all(line["retry_after_s"] >= 1 for line in lines[5:])
        assert answer.headers["ratelimit-remaining"] == "0"
        again = await http.post(PATH, files=form(("x.png", png())))
        assert again.status_code == 429
        assert "retry-after" in again.headers
        detect = await http.post(PATH, files=form(("x.png", png())), params={"task": "detect"})
        assert detect.status_code == 200
        assert detect.headers["ratelimit-remaining"] == "99"


async def test_only_some_pictures_are_at_work_at_once_and_all_are_answered(fake: FakePipeline) -> None:
    async with service(fake) as http:
        asking = asyncio.create_task(
            http.post(PATH, files=form(*[("x.png", png((2, 3)))] * 30), params=SOLID)
        )
        while fake.at_work < 8:
            await asyncio.sleep(0.001)
        fake.go_on.set()
        assert len(lines_of(await asking)) == 30
    assert fake.most_at_work == 8


async def test_one_batch_too_many_gets_503_and_a_place_is_free_again_afterwards(fake: FakePipeline) -> None:
    files = form(("x.png", png()))
    async with service(fake, max_batches_in_flight=1) as http:
        asking = asyncio.create_task(http.post(PATH, files=files))
        while not fake.at_work:
            await asyncio.sleep(0.001)
        refused = await http.post(PATH, files=files)
        assert refused.status_code == 503
        assert "retry-after" in refused.headers
        fake.go_on.set()
        assert (await asking).status_code == 200
        assert (await http.post(PATH, files=files)).status_code == 200


async def test_pictures_beyond_the_places_of_the_service_get_503_of_their_own(fake: FakePipeline) -> None:
    async with service(fake, max_in_flight=2) as http:
        asking = asyncio.create_task(http.post(PATH, files=form(*[("x.png", png())] * 4)))
        while fake.at_work < 2:
            await asyncio.sleep(0.001)
        fake.go_on.set()
        statuses = sorted(line["status"] for line in lines_of(await asking))
    assert statuses == [200, 200, 503, 503]


async def test_a_picture_that_takes_too_long_gets_504_and_the_batch_goes_on(fake: FakePipeline) -> None:
    async with service(fake, request_timeout_s=0.2) as http:
        lines = lines_of(await http.post(PATH, files=form(*[("x.png", png())] * 10)))
    assert [line["status"] for line in lines] == [504] * 10
    assert fake.cancelled == 10


async def asgi_batch(app: Any, body: bytes, content_type: str, receive_next: Any, send: Any) -> None:
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        return messages.pop() if messages else await receive_next()

    scope = {
        "type": "http",
        "method": "POST",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"method=solid&format=png",
        "headers": [(b"content-type", content_type.encode())],
    }
    await asyncio.wait_for(app(scope, receive, send), 10)


async def test_lines_are_sent_as_pictures_are_done(fake: FakePipeline) -> None:
    """The first answers are on their way while the last picture is still at work."""
    slow = png((7, 7))
    settings = Settings(api_key_enabled=False)
    app = create_app(settings, fake, LocalLedger(settings))
    release, sent = asyncio.Event(), []
    wait = fake._wait

    async def hold_the_slow_one(data: bytes) -> None:
        await wait(data)
        if data == slow:
            await release.wait()

    fake._wait = hold_the_slow_one  # type: ignore[method-assign]
    fake.go_on.set()

    async def never() -> dict[str, Any]:
        await asyncio.sleep(60)
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message.get("body", b""))
        if sum(b"index" in piece for piece in sent) == 2:
            release.set()

    body = zipped({"slow.png": slow, "a.png": png(), "b.png": png()})
    await asgi_batch(app, body, "application/zip", never, send)
    indexes = [json.loads(piece)["index"] for piece in sent if b"index" in piece]
    assert sorted(indexes[:2]) == [1, 2]
    assert indexes[2:] == [0]


async def test_a_client_that_leaves_cancels_what_is_left(fake: FakePipeline) -> None:
    settings = Settings(api_key_enabled=False)
    app = create_app(settings, fake, LocalLedger(settings))

    async def leave() -> dict[str, Any]:
        while fake.at_work < 8:
            await asyncio.sleep(0.001)
        return {"type": "http.disconnect"}

    async def send(_: dict[str, Any]) -> None:
        pass

    body = zipped({f"{number}.png": png() for number in range(20)})
    await asgi_batch(app, body, "application/zip", leave, send)
    assert (fake.begun, fake.cancelled, fake.at_work) == (8, 8, 0)


async def test_a_client_that_stops_reading_is_given_up_after_the_time_of_a_request(
    fake: FakePipeline,
) -> None:
    settings = Settings(api_key_enabled=False, request_timeout_s=0.2)
    app = create_app(settings, fake, LocalLedger(settings))
    fake.go_on.set()
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            await asyncio.sleep(60)
        sent.append(message)

    async def never() -> dict[str, Any]:
        await asyncio.sleep(60)
        raise AssertionError

    body = zipped({f"{number}.png": png() for number in range(20)})
    await asgi_batch(app, body, "application/zip", never, send)
    assert [message["type"] for message in sent] == ["http.response.start"]
    assert fake.begun < 20


async def test_a_body_that_does_not_arrive_in_time_is_a_504(pipeline: LocalPipeline) -> None:
    settings = Settings(api_key_enabled=False, request_timeout_s=0.1, max_upload_bytes=100 * 2**20)
    app = create_app(settings, pipeline, LocalLedger(settings))
    sent: list[dict[str, Any]] = []

    async def stalled() -> dict[str, Any]:
        await asyncio.sleep(60)
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"",
        "headers": [(b"content-type", b"application/zip")],
    }
    await asyncio.wait_for(app(scope, stalled, send), 10)
    assert sent[0]["status"] == 504


async def test_openapi_describes_lines_and_zip(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    batch = document["paths"][PATH]["post"]
    content = batch["responses"]["200"]["content"]
    assert content["application/x-ndjson"]["schema"] == {"$ref": "#/components/schemas/BatchLine"}
    assert "application/zip" in content
    line = document["components"]["schemas"]["BatchLine"]
    assert {"index", "filename", "status", "detail", "result"} <= set(line["properties"])
    assert set(batch["requestBody"]["content"]) == {"multipart/form-data", "application/zip"}
    assert batch["responses"]["413"]["content"] == {
        "application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}
    }
    assert batch["security"] == [{"ApiKey": []}]
    names = {parameter["name"] for parameter in batch["parameters"]}
    mask = {parameter["name"] for parameter in document["paths"]["/api/v1/mask"]["post"]["parameters"]}
    of_one = {"skip", "only", "face_count", "image_id", "receipt"}
    assert names == (mask - of_one) | {"task", "answer"}
