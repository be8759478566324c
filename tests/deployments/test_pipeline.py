import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from deployments.calls import Caller
from deployments.errors import ImageDecodeError
from deployments.pipeline import ServePipeline, Stage
from deployments.transport import (
    INLINE,
    Locker,
    OtherHostError,
    Parcel,
    RequestEndedError,
    host_id,
    receive,
    send,
)
from deployments.types import MaskParams
from models.types import DetectParams

pytestmark = pytest.mark.skipif(not host_id(), reason="no shared memory on this platform")
UPLOAD = bytes(100_000)


def with_decoder(decode: Callable[..., Any]) -> ServePipeline:
    """A pipeline of which only the Decoder is asked, through Ray: a future stands in for its response."""
    handle: Any = SimpleNamespace(decode=SimpleNamespace(remote=decode))
    stage = Stage("Decoder", handle, Caller("none", "Decoder"))
    return ServePipeline(stage, stage, stage)


async def test_a_stage_cannot_reach_the_memory_of_a_request_whose_client_left() -> None:
    uploads: list[tuple[Parcel, Locker]] = []

    def decode(upload: Parcel, _: bool, __: str, locker: Locker, ___: float) -> asyncio.Future[None]:
        uploads.append((upload, locker))
        return asyncio.get_running_loop().create_future()

    pipeline = with_decoder(decode)
    request = asyncio.create_task(pipeline.mask(UPLOAD, DetectParams(), MaskParams(), 30.0))
    while not uploads:
        await asyncio.sleep(0)
    (upload, locker), *_ = uploads
    assert receive(upload).tobytes() == UPLOAD
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    with pytest.raises(RequestEndedError):
        receive(upload)
    with pytest.raises(RequestEndedError):
        send(np.zeros(100_000, np.uint8), locker, upload)


async def test_pictures_travel_inline_once_a_stage_is_found_on_another_host() -> None:
    asked: list[tuple[bool, Locker]] = []

    def decode(upload: Parcel, _: bool, __: str, locker: Locker, ___: float) -> asyncio.Future[Exception]:
        asked.append((upload.inline is not None, locker))
        answer = asyncio.get_running_loop().create_future()
        answer.set_result(ImageDecodeError("no picture") if upload.inline else OtherHostError("elsewhere"))
        return answer

    pipeline = with_decoder(decode)
    for _ in range(2):
        with pytest.raises(ImageDecodeError):
            await pipeline.detect(UPLOAD, DetectParams(), 30.0)
    (was_inline, locker), *later = asked
    assert not was_inline
    assert locker.host == host_id()
    assert later == [(True, INLINE), (True, INLINE)]
