"""A picture that ends a decoder costs what was in that replica, once."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import psutil
import pytest
import simplejpeg
from numpy.typing import NDArray

from tests.serving.conftest import Service, descendants, title

pytestmark = pytest.mark.ray

RECOVERY_S = 60.0
HEADERS = {"Content-Type": "image/jpeg"}


def decoder_of(service: Service) -> psutil.Process | None:
    return next((p for p in descendants(service) if "Replica:face-api:Decoder" in title(p)), None)


def mask(client: httpx.Client, picture: bytes) -> httpx.Response:
    return client.post("/api/v1/mask", content=picture, headers=HEADERS)


def test_it_is_refused_when_it_is_sent_again_and_others_are_not(
    client: httpx.Client, service: Service, astronaut: NDArray[np.uint8]
) -> None:
    others = simplejpeg.encode_jpeg(np.ascontiguousarray(astronaut), quality=90)
    poison = simplejpeg.encode_jpeg(np.ascontiguousarray(astronaut[:, ::-1]), quality=91)
    assert mask(client, others).status_code == 200

    decoder = decoder_of(service)
    assert decoder is not None
    os.kill(decoder.pid, signal.SIGSTOP)  # so that it has the picture when it ends
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(mask, client, poison)
        time.sleep(1.0)
        assert not answer.done()
        os.kill(decoder.pid, signal.SIGKILL)
        lost = answer.result()
    assert lost.status_code == 503
    assert "Retry-After" in lost.headers

    deadline = time.monotonic() + RECOVERY_S
    while mask(client, others).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.3)
    again = mask(client, poison)
    assert again.status_code == 400
    assert "ended the decoder" in again.json()["detail"]
    assert mask(client, others).status_code == 200
