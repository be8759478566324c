"""Batches over a real service: its HTTP server, its processes, its stages."""

import base64
import hashlib
import io
import json
import socket
import time
import zipfile
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray

from tests.serving.conftest import Service, lockers

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]
PATH = "/api/v1/batch"


@pytest.fixture(scope="module")
def pictures(astronaut: NDArray[np.uint8]) -> list[bytes]:
    """Twenty that differ."""
    turned = (np.roll(astronaut, 16 * number, axis=1) for number in range(20))
    return [simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=90) for pixels in turned]


def test_every_picture_of_a_batch_is_answered_as_if_it_had_come_alone(
    client: httpx.Client, pictures: list[bytes]
) -> None:
    files = [("image", (f"{number}.jpg", data)) for number, data in enumerate(pictures)]
    query = {"store": "none", "method": "solid"}  # a blur is another one each time
    answer = client.post(PATH, files=files, params=query)
    assert answer.status_code == 200
    lines = {line["index"]: line for line in map(json.loads, answer.text.splitlines())}
    assert sorted(lines) == list(range(20))
    for number, data in enumerate(pictures):
        alone = client.post("/api/v1/mask", files={"image": data}, params=query)
        in_batch = base64.b64decode(lines[number]["result"]["output"]["image_base64"])
        assert hashlib.sha256(in_batch).digest() == hashlib.sha256(alone.content).digest()


def test_a_zip_goes_in_and_a_zip_comes_out_as_it_is_made(client: httpx.Client, pictures: list[bytes]) -> None:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        for number, data in enumerate(pictures):
            archive.writestr(f"photos/{number}.jpg", data)
        archive.writestr("photos/broken.jpg", pictures[0][:1000])
    headers = {"Content-Type": "application/zip"}
    with client.stream(
        "POST", PATH, content=body.getvalue(), headers=headers, params={"answer": "zip"}
    ) as answer:
        pieces = list(answer.iter_raw())
    assert len(pieces) > 1
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive:
        assert archive.testzip() is None
        manifest = json.loads(archive.read("manifest.json"))
    assert [item["status"] for item in manifest["items"]] == [200] * 20 + [400]
    assert all(item["job_id"] for item in manifest["items"][:20])


def test_a_client_that_leaves_a_batch_leaves_no_picture_in_shared_memory(
    service: Service, client: httpx.Client, pictures: list[bytes]
) -> None:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        for number in range(100):
            archive.writestr(f"{number}.jpg", pictures[number % 20])
    address = urlsplit(service.url)
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: {address.netloc}\r\nX-API-Key: {service.api_key}\r\n"
        f"Content-Type: application/zip\r\nContent-Length: {len(body.getvalue())}\r\n\r\n"
    )
    for patience_s in (0.0, 0.05, 0.2, 0.5):
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(head.encode() + body.getvalue())
            time.sleep(patience_s)
    deadline = time.monotonic() + 30
    while lockers(service) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert lockers(service) == []
    assert client.post(PATH, files=[("image", ("x.jpg", pictures[0]))]).status_code == 200
