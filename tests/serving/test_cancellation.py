"""Clients that leave before their answer leave nothing behind."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import cv2
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.serving.conftest import Service, lockers

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]
CLIENTS = 150
AT_ONCE = 6


def large_jpeg(astronaut: NDArray[np.uint8]) -> bytes:
    """9 megapixels, four faces: 27 MB between the stages."""
    pixels = cv2.resize(np.tile(astronaut, (2, 2, 1)), (3000, 3000))
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    return encoded.tobytes()


def leave_early(service: Service, picture: bytes, patience_s: float) -> None:
    """Ask for a masked picture and close the connection `patience_s` seconds later."""
    address = urlsplit(service.url)
    head = (
        f"POST /api/v1/mask HTTP/1.1\r\nHost: {address.netloc}\r\nX-API-Key: {service.api_key}\r\n"
        f"Content-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(head.encode() + picture)
        time.sleep(patience_s)


def test_clients_that_leave_early_leave_no_picture_in_shared_memory(
    service: Service, client: httpx.Client, astronaut: NDArray[np.uint8]
) -> None:
    picture = large_jpeg(astronaut)

    def mask() -> httpx.Response:
        return client.post("/api/v1/mask", content=picture, headers={"Content-Type": "image/jpeg"})

    assert mask().status_code == 200
    started = time.monotonic()
    assert mask().status_code == 200
    whole_s = time.monotonic() - started
    patience = np.random.default_rng(7).uniform(0.0, 2 * whole_s, CLIENTS)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda patience_s: leave_early(service, picture, patience_s), patience))
    deadline = time.monotonic() + 10
    while lockers(service) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert lockers(service) == []
    assert mask().status_code == 200
