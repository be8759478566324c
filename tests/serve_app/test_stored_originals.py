"""A stored picture is masked again without a second upload: by the key that sent it, and by no other."""

import io
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import numpy as np
import pytest
from PIL import Image

from deployments.pipeline import LocalPipeline
from serve_app.storage.options import StorageOptions
from tests.serve_app.test_app import PICTURE, PNG
from tests.serve_app.test_mask_choice import FIRST, SECOND, is_hidden
from tests.serve_app.test_storage import AUTH, Stored, s3, storing

__all__ = ["s3"]
pytestmark = [pytest.mark.postgres, pytest.mark.s3]
SOLID = {"method": "solid", "format": "png", "padding": 0}


@pytest.fixture
async def stored(database_url: str, s3: StorageOptions, pipeline: LocalPipeline) -> AsyncIterator[Stored]:
    async with storing(database_url, s3, pipeline, api_key_enabled=True) as stored:
        yield stored


async def key_of(stored: Stored) -> dict[str, str]:
    answer = await stored.http.post("/api/v1/admin/api-keys", json={"name": "One"}, auth=AUTH)
    return {"X-API-Key": answer.json()["key"]}


async def send(stored: Stored, key: dict[str, str], **query: Any) -> str:
    answer = await stored.http.post("/api/v1/detect", content=PICTURE, headers={**PNG, **key}, params=query)
    return str(answer.json()["image_id"])


async def mask(stored: Stored, key: dict[str, str], image_id: str, **query: Any) -> httpx.Response:
    return await stored.http.post(
        "/api/v1/mask", headers=key, params={**SOLID, "image_id": image_id, **query}
    )


async def test_a_detected_picture_is_masked_by_its_id_and_faces_may_be_left(stored: Stored) -> None:
    key = await key_of(stored)
    image_id = await send(stored, key)
    answer = await mask(stored, key, image_id, skip="[0]", face_count=2)
    assert answer.status_code == 200, answer.text
    pixels = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert (is_hidden(pixels, FIRST), is_hidden(pixels, SECOND)) == (False, True)
    assert answer.headers["x-image-id"] == image_id
    detail = await stored.get(f"/api/v1/admin/images/{image_id}")
    assert [job["job_type"] for job in detail["jobs"]] == ["mask", "detect"]
    assert detail["jobs"][0]["id"] == answer.headers["x-job-id"]
    assert (await stored.get("/api/v1/admin/images"))["total"] == 1
    assert await stored.objects() == await stored.named()
    assert len(await stored.objects()) == 2
    await stored.http.delete(f"/api/v1/admin/images/{image_id}", auth=AUTH)
    assert await stored.objects() == set()
    assert (await mask(stored, key, image_id)).status_code == 404


async def test_only_the_key_that_sent_a_picture_has_it(stored: Stored, database_url: str) -> None:
    mine, other = await key_of(stored), await key_of(stored)
    image_id = await send(stored, mine)
    unknown_id = str(uuid4())
    refused, unknown = await mask(stored, other, image_id), await mask(stored, other, unknown_id)
    assert refused.status_code == unknown.status_code == 404
    assert refused.json()["detail"].replace(image_id, unknown_id) == unknown.json()["detail"]
    assert (await stored.http.post("/api/v1/mask", params={"image_id": image_id})).status_code == 401
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE images SET key_id = NULL")  # sent while keys were off
    await connection.close()
    assert (await mask(stored, mine, image_id)).status_code == 404


async def test_a_picture_without_its_original_is_not_there(stored: Stored) -> None:
    key = await key_of(stored)
    assert (await mask(stored, key, await send(stored, key, store="result"))).status_code == 404


async def test_an_id_and_a_body_or_no_id_at_all_are_refused(stored: Stored) -> None:
    key = await key_of(stored)
    image_id = await send(stored, key)
    both = await stored.http.post(
        "/api/v1/mask", content=PICTURE, headers={**PNG, **key}, params={"image_id": image_id}
    )
    assert both.status_code == 422
    assert "without a body" in both.json()["detail"]
    assert (await mask(stored, key, "no-uuid")).status_code == 422


async def test_a_result_that_cannot_be_noted_leaves_the_picture_as_it_was(
    stored: Stored, database_url: str
) -> None:
    key = await key_of(stored)
    image_id = await send(stored, key)
    connection = await asyncpg.connect(database_url)
    await connection.execute("ALTER TABLE processing_jobs ADD CHECK (job_type = 'detect')")
    answer = await mask(stored, key, image_id)
    await connection.execute("ALTER TABLE processing_jobs DROP CONSTRAINT processing_jobs_job_type_check")
    await connection.close()
    assert answer.status_code == 200
    assert "x-job-id" not in answer.headers
    await stored.maintain()
    assert (await stored.get(f"/api/v1/admin/images/{image_id}"))["job_count"] == 1
    assert await stored.objects() == await stored.named()
    assert (await mask(stored, key, image_id)).headers["x-image-id"] == image_id


async def test_without_storage_an_id_is_a_501(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/v1/mask", params={"image_id": str(uuid4())})
    assert answer.status_code == 501
