"""verify and receipt over /mask: what is shown again is hidden harder, and what was done is signed."""

import base64
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from deployments.pipeline import LocalPipeline
from models.types import UInt8Array
from serve_app.app import create_app
from serve_app.receipts.key import ReceiptKeyError, described, make_key_file, read_private_key
from serve_app.receipts.receipt import check_file, read_receipt
from serve_app.settings import Settings
from tests.serve_app.conftest import LocalLedger
from tests.serve_app.test_app import PICTURE, PNG
from tests.serve_app.test_mask_choice import FIRST, SECOND, is_hidden

USELESS: dict[str, Any] = {
    "method": "gaussian",
    "strength": 1,
    "strength_floor": "off",
    "format": "png",
    "padding": 0,
    "verify": True,
}
"""A blur that blurs nothing."""


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    make_key_file(tmp_path / "receipt_key.pem")
    return tmp_path / "receipt_key.pem"


@pytest.fixture
async def signing(pipeline: LocalPipeline, key_file: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(Settings(api_key_enabled=False, receipt_key=key_file), pipeline, LocalLedger())
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        yield http


async def masked(client: httpx.AsyncClient, **query: Any) -> httpx.Response:
    return await client.post("/api/v1/mask", content=PICTURE, headers=PNG, params=query)


def pixels_of(data: bytes) -> UInt8Array:
    return np.asarray(Image.open(io.BytesIO(data)))


async def test_what_shows_through_a_mask_is_hidden_in_black(client: httpx.AsyncClient) -> None:
    answer = await masked(client, **USELESS)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-residual-faces"] == "2"
    assert "verify;dur=" in answer.headers["server-timing"]
    pixels = pixels_of(answer.content)
    assert is_hidden(pixels, FIRST)
    assert is_hidden(pixels, SECOND)
    assert (pixels[FIRST[1] - 8, FIRST[0] : FIRST[2]] == 0).all()  # larger than the face


async def test_a_mask_that_hides_is_left_as_it_is(client: httpx.AsyncClient) -> None:
    query = {"method": "solid", "format": "png", "padding": 0}
    plain, looked_at = await masked(client, **query), await masked(client, **query, verify=True)
    assert looked_at.headers["x-residual-faces"] == "0"
    assert "x-residual-faces" not in plain.headers
    assert looked_at.content == plain.content


async def test_a_face_that_the_client_left_is_no_residue(client: httpx.AsyncClient) -> None:
    answer = await masked(client, **USELESS, skip="[0]", face_count=2)
    assert answer.headers["x-residual-faces"] == "1"
    pixels = pixels_of(answer.content)
    assert not is_hidden(pixels, FIRST)
    assert is_hidden(pixels, SECOND)


async def test_a_receipt_says_what_was_done_and_its_signature_is_that_of_the_service(
    signing: httpx.AsyncClient, key_file: Path
) -> None:
    answer = await masked(signing, **USELESS, receipt=True)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    public = read_private_key(key_file).public_key()
    receipt = read_receipt(body["receipt"], public)
    check_file("original", PICTURE, receipt.input)
    check_file("masked", base64.b64decode(body["output"]["image_base64"]), receipt.output)
    assert receipt.request_id == body["request_id"] == answer.headers["x-request-id"]
    assert receipt.residual_faces == body["masking"]["residual_faces"] == 2
    assert receipt.model == body["processing"]["model"]
    assert len(receipt.model_sha256) == 64
    assert receipt.parameters["strength_floor"] == "off"
    assert not {"store", "receipt"} & set(receipt.parameters)
    for face in (FIRST, SECOND):
        assert any(np.allclose(box, face, atol=1) for box in receipt.boxes)
    assert len(receipt.boxes) == 6  # each face, larger, and black
    assert all(number == round(number, 1) for box in receipt.boxes for number in box)
    shown = await signing.get("/api/v1/receipts/key")
    assert shown.json() == described(public).model_dump()


async def test_a_service_without_a_key_signs_nothing_and_says_so_before_it_works(
    pipeline: LocalPipeline, tmp_path: Path
) -> None:
    app = create_app(Settings(api_key_enabled=False, data_dir=tmp_path), pipeline, LocalLedger())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
        refused = await masked(http, receipt=True)
        assert refused.status_code == 501
        assert "FACE_API_RECEIPT_KEY" in refused.json()["detail"]
        assert (await http.get("/api/v1/receipts/key")).status_code == 501
        assert (await masked(http)).status_code == 200


def test_a_key_that_was_named_and_is_not_there_keeps_the_service_from_starting(
    pipeline: LocalPipeline, tmp_path: Path
) -> None:
    settings = Settings(api_key_enabled=False, receipt_key=tmp_path / "none.pem")
    with pytest.raises(ReceiptKeyError, match=r"none\.pem"):
        create_app(settings, pipeline, LocalLedger())
