import asyncio
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from deployments.calls import Caller
from deployments.errors import ImageDecodeError
from deployments.pipeline import ServePipeline, Stage
from deployments.transport import (
    INLINE,
    SHARED_MEMORY,
    Locker,
    OtherHostError,
    Outbox,
    Parcel,
    RequestEndedError,
    host_id,
    sweep,
)
from deployments.types import MaskParams
from models.types import DetectParams

pytestmark = pytest.mark.skipif(not host_id(), reason="no shared memory on this platform")
UPLOAD = bytes(100_000)


@pytest.fixture
def session() -> Iterator[str]:
    name = f"test{uuid4().hex[:8]}"
    yield name
    sweep(0.0, name)


def with_decoder(decode: Callable[..., Any], outbox: Outbox) -> ServePipeline:
    """A pipeline of which only the Decoder is asked, through Ray: a future stands in for its response."""
    handle: Any = SimpleNamespace(decode=SimpleNamespace(remote=decode))
    stage = Stage(handle, Caller("none", "Decoder"))
    return ServePipeline(stage, stage, stage, outbox)


async def test_what_a_stage_sends_after_its_client_left_leaves_nothing(session: str) -> None:
    lockers: list[Locker] = []
    outbox = Outbox(session, 60)

    def decode(_: Parcel, __: bool, locker: Locker, ___: float) -> asyncio.Future[None]:
        lockers.append(locker)
        return asyncio.get_running_loop().create_future()

    pipeline = with_decoder(decode, outbox)
    request = asyncio.create_task(pipeline.mask(UPLOAD, DetectParams(), MaskParams(), 30.0))
    while not lockers:
        await asyncio.sleep(0)
    folder = SHARED_MEMORY / lockers[0].name
    assert len(list(folder.iterdir())) == 1
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    with pytest.raises(RequestEndedError):
        outbox.send(np.zeros(100_000, np.uint8), lockers[0])
    assert not folder.exists()


async def test_pictures_travel_inline_once_a_stage_is_found_on_another_host(session: str) -> None:
    asked: list[tuple[bool, Locker]] = []

    def decode(upload: Parcel, _: bool, locker: Locker, __: float) -> asyncio.Future[Exception]:
        asked.append((upload.inline is not None, locker))
        answer = asyncio.get_running_loop().create_future()
        answer.set_result(ImageDecodeError("no picture") if upload.inline else OtherHostError("elsewhere"))
        return answer

    pipeline = with_decoder(decode, Outbox(session, 60))
    for _ in range(2):
        with pytest.raises(ImageDecodeError):
            await pipeline.detect(UPLOAD, DetectParams(), 30.0)
    (was_inline, locker), *later = asked
    assert not was_inline
    assert locker.host == host_id()
    assert later == [(True, INLINE), (True, INLINE)]
