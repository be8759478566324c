import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray

from deployments.calls import Caller
from deployments.decoding.decode import decode
from deployments.errors import ImageDecodeError, LosslessRefusedError
from deployments.masking.lossless import mask_lossless
from deployments.masking.mask import mask
from deployments.parcels import CanvasParcel, DecodedParcel, MaskedParcel, PictureParcel
from deployments.pipeline import ServePipeline
from deployments.stage import Stage
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
from deployments.types import DecodeParams, FaceChoice, Inferred, MaskParams
from models.types import Detections, DetectParams, Float32Array

pytestmark = pytest.mark.skipif(not host_id(), reason="no shared memory on this platform")
UPLOAD = bytes(100_000)


def with_decoder(decode: Callable[..., Any]) -> ServePipeline:
    """A pipeline of which only the Decoder is asked, through Ray: a future stands in for its response."""
    handle: Any = SimpleNamespace(decode=SimpleNamespace(remote=decode))
    stage = Stage("Decoder", handle, Caller("none", "Decoder"))
    return ServePipeline(stage, stage, stage)


async def test_a_stage_cannot_reach_the_memory_of_a_request_whose_client_left() -> None:
    uploads: list[tuple[Parcel, Locker]] = []

    def decode(upload: Parcel, _: DecodeParams, locker: Locker, __: float) -> asyncio.Future[None]:
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


class Here:
    """A stage in this process."""

    replicas = 1

    def __init__(self, **methods: Callable[..., Any]) -> None:
        self._methods = methods

    async def ask(self, method: str, _: object, *arguments: object) -> Any:
        return self._methods[method](*arguments)


async def test_a_lossless_mask_gets_the_upload_and_no_picture(astronaut: NDArray[np.uint8]) -> None:
    data = simplejpeg.encode_jpeg(astronaut, quality=98, colorsubsampling="444")
    found = np.array([[200, 60, 280, 160]], np.float32)
    asked: list[bool] = []

    def decode_here(upload: Parcel, params: DecodeParams, locker: Locker, _: float) -> DecodedParcel:
        asked.append(params.keep_picture)
        data = receive(upload).tobytes()
        decoded = decode(data, max_pixels=10**6, keep_picture=params.keep_picture)
        return DecodedParcel.pack(decoded, 0.0, locker, upload)

    def detect(canvases: tuple[CanvasParcel, ...], *_: object) -> Inferred:
        canvases[0].unpack()
        faces = Detections(found, np.ones(1, np.float32), None, 1, 0.0, 0.0)
        return Inferred(faces, "none", 0.0, 0.0, 0.0, 1)

    def hide(
        upload: Parcel, canvas: CanvasParcel, boxes: Float32Array, params: MaskParams, _: float
    ) -> MaskedParcel:
        masked = mask_lossless(receive(upload).tobytes(), canvas.width, canvas.height, boxes, params)
        encoded = send(np.frombuffer(masked.data, np.uint8), canvas.pixels.locker, canvas.pixels)
        times = (0.0, masked.mask_ms, masked.encode_ms)
        return MaskedParcel(encoded, masked.regions_masked, *times, masked.strength_raised)

    stages: list[Any] = [Here(decode=decode_here), Here(detect=detect), Here(mask_lossless=hide)]
    pipeline = ServePipeline(*stages)
    masking = MaskParams(method="solid", lossless=True)
    result = (await pipeline.mask(data, DetectParams(), masking, 30.0)).masked.data
    assert asked == [False]
    before, after = simplejpeg.decode_jpeg(data), simplejpeg.decode_jpeg(result)
    assert after[60:160, 200:280].max() < 16
    assert np.array_equal(after[200:], before[200:])
    with pytest.raises(LosslessRefusedError):
        await pipeline.mask(b"GIF89a", DetectParams(), masking, 30.0)
    assert asked == [False]


@pytest.mark.parametrize("is_numbered", [True, False])
async def test_who_names_faces_by_number_gets_the_numbers_of_detect(
    astronaut: NDArray[np.uint8], is_numbered: bool
) -> None:
    large = cv2.resize(astronaut, (1601, 1601), interpolation=cv2.INTER_CUBIC)
    data = simplejpeg.encode_jpeg(large, quality=95)
    faces = Detections(np.array([[200, 60, 280, 160]], np.float32), np.ones(1, np.float32), None, 1, 0.0, 0.0)
    seen: list[NDArray[np.uint8]] = []

    def decode_here(upload: Parcel, params: DecodeParams, locker: Locker, _: float) -> DecodedParcel:
        decoded = decode(
            receive(upload).tobytes(),
            max_pixels=10**7,
            keep_picture=params.keep_picture,
            same_canvas=params.same_canvas,
        )
        return DecodedParcel.pack(decoded, 0.0, locker, upload)

    def detect(canvases: tuple[CanvasParcel, ...], *_: object) -> Inferred:
        seen.append(canvases[0].unpack().pixels.copy())
        return Inferred(faces, "none", 0.0, 0.0, 0.0, 1)

    def hide(picture: PictureParcel, boxes: Float32Array, params: MaskParams, _: float) -> MaskedParcel:
        masked = mask(picture.unpack(), boxes, params)
        encoded = send(np.frombuffer(masked.data, np.uint8), INLINE)
        return MaskedParcel(encoded, masked.regions_masked, 0.0, 0.0, 0.0, 0)

    stages: list[Any] = [Here(decode=decode_here), Here(detect=detect), Here(mask=hide)]
    pipeline = ServePipeline(*stages)
    choice = FaceChoice(skip=(0,), face_count=1) if is_numbered else FaceChoice()
    await pipeline.detect(data, DetectParams(), 30.0)
    await pipeline.mask(data, DetectParams(), MaskParams(choice=choice), 30.0)
    assert np.array_equal(*seen) == is_numbered


async def test_pictures_travel_inline_once_a_stage_is_found_on_another_host() -> None:
    asked: list[tuple[bool, Locker]] = []

    def decode(upload: Parcel, _: DecodeParams, locker: Locker, __: float) -> asyncio.Future[Exception]:
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
