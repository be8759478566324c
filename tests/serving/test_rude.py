"""Rude clients against a whole service; `make torture` measures what they cost the others."""

import asyncio
from dataclasses import replace

import httpx
import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray

from loadtests.torture.malformed import malformed
from loadtests.torture.rude_clients import Crowd, Target, kinds_of, send
from serve_app.settings import Settings
from tests.serving.conftest import Service

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]
JPEG = {"Content-Type": "image/jpeg"}
CLIENTS = {
    "slow heads": 100,
    "slow bodies": Settings().max_in_flight + 40,
    "idle connections": 100,
    "half-closed connections": 20,
}


@pytest.fixture(scope="module")
def picture(astronaut: NDArray[np.uint8]) -> bytes:
    encoded: bytes = simplejpeg.encode_jpeg(astronaut, quality=92)
    return encoded


async def test_what_is_no_request_is_refused_in_words(service: Service, picture: bytes) -> None:
    async def outcome(number: int) -> str:
        kind = kinds[number]
        host, port = service.url.removeprefix("http://").split(":")
        streams = await asyncio.open_connection(host, int(port))
        async with asyncio.timeout(60):
            status = await send(kind, streams)
        streams[1].transport.abort()
        return "" if status in map(str, kind.statuses) else f"{kind.name}: {status}"

    kinds = malformed(service.api_key, picture)
    wrong = [said for said in await asyncio.gather(*map(outcome, range(len(kinds)))) if said]
    assert wrong == []


async def test_those_who_send_slowly_or_nothing_take_no_place_and_are_ended(
    service: Service, picture: bytes
) -> None:
    target = Target(service.url, service.api_key, picture)
    kinds = [kind for kind in kinds_of(target) if kind.name in CLIENTS]
    crowds = [Crowd(target, replace(kind, clients=CLIENTS[kind.name])) for kind in kinds]
    assert len(crowds) == len(CLIENTS)
    running = [asyncio.create_task(crowd.run()) for crowd in crowds]
    while not all(crowd.open >= crowd.rudeness.clients or crowd.ended for crowd in crowds):
        await asyncio.sleep(0.05)
    headers = {**JPEG, "X-API-Key": service.api_key}
    async with httpx.AsyncClient(base_url=service.url, headers=headers, timeout=60) as http:
        for _ in range(20):
            assert (await http.post("/api/v1/detect", content=picture)).status_code == 200
    while not all(crowd.ended for crowd in crowds):
        await asyncio.sleep(0.2)
    for task in running:
        task.cancel()
    await asyncio.wait(running)
    for crowd in crowds:
        assert set(crowd.ended) <= crowd.rudeness.expected, crowd.rudeness.name
    assert "Invalid HTTP request" not in service.log.read_text()
