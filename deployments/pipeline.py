"""The order of the stages, and nothing else: over Ray Serve handles, or in one process without Ray."""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from ray.exceptions import RayError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from deployments.calls import CalleeLostError, Caller
from deployments.deadline import Deadline
from deployments.decoding.decode import decode
from deployments.detection.batch import BatchItem, infer_batch
from deployments.detection.search import search
from deployments.errors import DeadlineExceededError, MaskingError, OverloadedError, StageLostError
from deployments.masking.boxes import boxes_to_hide
from deployments.masking.choice import check_regions
from deployments.masking.lossless import check_lossless, mask_lossless
from deployments.masking.mask import mask
from deployments.metrics import DECODED_PIXELS, STAGE_LOST
from deployments.parcels import DecodedParcel, MaskedParcel
from deployments.poison import Quarantine
from deployments.transport import INLINE, Locker, Lockers, OtherHostError, Parcel, receive, send
from deployments.types import Analysed, Anonymised, Decoded, Inferred, Masked, MaskParams, ServedModel
from models.errors import FaceError, InferenceError
from models.scrfd import Scrfd
from models.types import Detail, DetectParams, Float32Array

T = TypeVar("T")
logger = logging.getLogger("face_api.pipeline")


class Stage:
    """One stage as the ingress calls it: straight where a replica is on this host, else through Ray."""

    def __init__(self, deployment: str, handle: DeploymentHandle[Any], caller: Caller) -> None:
        self._deployment = deployment
        STAGE_LOST.expect(deployment)
        self._handle = handle
        self._caller = caller

    @property
    def replicas(self) -> int:
        """How many there are on this host, at least 1."""
        return self._caller.callees or 1

    async def ask(self, method: str, deadline: Deadline, *arguments: object) -> Any:  # noqa: ANN401 - the method's own
        """A method's answer; errors it returned as values are raised here.

        Whoever stops waiting, because of the deadline or a client that left, cancels the work. The stage
        hears of it too late at times, and its answer is lost; what it sent goes with the request's locker.
        """
        try:
            async with asyncio.timeout(max(deadline.left_s, 0.0)):
                if await self._caller.finds_callee():
                    value = await self._caller.call(method, *arguments)
                else:
                    value = await self._through_ray(method, arguments)
        except TimeoutError as error:
            raise DeadlineExceededError(
                "the request's deadline passed before its result was ready"
            ) from error
        except BackPressureError as error:
            raise OverloadedError("the service is at its limit; try again shortly") from error
        except (CalleeLostError, RayError, RayServeException) as error:
            STAGE_LOST.inc(self._deployment)
            event = {"event": "a call of a stage failed", "deployment": self._deployment}
            logger.warning(json.dumps({**event, "reason": type(error).__name__}))
            raise StageLostError("a stage of the service is restarting; try again shortly") from error
        if isinstance(value, FaceError):
            raise value
        return value

    async def _through_ray(self, method: str, arguments: tuple[object, ...]) -> Any:  # noqa: ANN401 - see above
        response = getattr(self._handle, method).remote(*arguments)
        try:
            return await response
        except asyncio.CancelledError:
            response.cancel()
            raise


class ServePipeline:
    """Decoder → Detector → Masker, each in replicas of its own; lives in the ingress replica."""

    def __init__(self, decoder: Stage, detector: Stage, masker: Stage) -> None:
        self._decoder = decoder
        self._detector = detector
        self._masker = masker
        self._lockers = Lockers()
        self._quarantine = Quarantine()
        self._in_flight = 0
        self._inline = False  # set for good once a stage is found on another host

    async def served_model(self) -> ServedModel:
        """The model a detector replica answers with."""
        model: ServedModel = await self._detector.ask("served_model", Deadline.after(5.0))
        return model

    async def detect(self, data: bytes, params: DetectParams, timeout_s: float) -> Analysed:
        """Find the faces of an encoded picture."""
        deadline = Deadline.after(timeout_s)
        return await self._across_hosts(lambda locker: self._detect(data, params, locker, deadline))

    async def mask(
        self, data: bytes, params: DetectParams, masking: MaskParams, timeout_s: float
    ) -> Anonymised:
        """Find the faces of an encoded picture, hide them, and encode the result."""
        deadline = Deadline.after(timeout_s)
        return await self._across_hosts(lambda locker: self._mask(data, params, masking, locker, deadline))

    async def _detect(
        self, data: bytes, params: DetectParams, locker: Locker, deadline: Deadline
    ) -> Analysed:
        upload = send(np.frombuffer(data, np.uint8), locker)
        decoded = await self._decode(data, upload, False, params.detail, locker, deadline)
        with _in_flight(decoded):
            return await self._find(decoded, params, deadline)

    async def _mask(
        self, data: bytes, params: DetectParams, masking: MaskParams, locker: Locker, deadline: Deadline
    ) -> Anonymised:
        if masking.lossless:
            check_lossless(data, masking)
        upload = send(np.frombuffer(data, np.uint8), locker)
        decoded = await self._decode(data, upload, not masking.lossless, params.detail, locker, deadline)
        check_regions(masking.regions, decoded.info.width, decoded.info.height)
        with _in_flight(decoded):
            analysed = await self._find(decoded, params, deadline)
            boxes, skipped = boxes_to_hide(analysed.inferred, params, masking.choice)
            if masking.lossless:
                parcel = await self._hide_lossless(data, upload, decoded, boxes, masking, deadline)
            else:
                parcel = await self._hide(decoded, boxes, masking, deadline)
        encoded = receive(parcel.data).tobytes()
        if not encoded or parcel.regions_masked != len(boxes) + len(masking.regions):
            raise MaskingError("the masker's answer is no masked picture")
        times = (parcel.mask_ms, parcel.encode_ms)
        masked = Masked(encoded, parcel.regions_masked, *times, parcel.strength_raised)
        return Anonymised(analysed, masked, parcel.queue_ms, skipped)

    async def _hide(
        self, decoded: DecodedParcel, boxes: Float32Array, masking: MaskParams, deadline: Deadline
    ) -> MaskedParcel:
        size = (decoded.info.height, decoded.info.width)
        if decoded.picture is None or decoded.picture.pixels.shape[:2] != size:
            raise InferenceError("the decoder sent no picture to mask, or another one")
        parcel: MaskedParcel = await self._masker.ask(
            "mask", deadline, decoded.picture, boxes, masking, deadline.left_s
        )
        return parcel

    async def _hide_lossless(
        self,
        data: bytes,
        upload: Parcel,
        decoded: DecodedParcel,
        boxes: Float32Array,
        masking: MaskParams,
        deadline: Deadline,
    ) -> MaskedParcel:
        with self._quarantine.decoding(data):  # the masker reads the upload itself
            parcel: MaskedParcel = await self._masker.ask(
                "mask_lossless", deadline, upload, decoded.canvas, boxes, masking, deadline.left_s
            )
        return parcel

    async def _decode(
        self,
        data: bytes,
        upload: Parcel,
        keep_picture: bool,
        detail: Detail,
        locker: Locker,
        deadline: Deadline,
    ) -> DecodedParcel:
        with self._quarantine.decoding(data):
            decoded: DecodedParcel = await self._decoder.ask(
                "decode", deadline, upload, keep_picture, detail, locker, deadline.left_s
            )
        return decoded

    async def _find(self, decoded: DecodedParcel, params: DetectParams, deadline: Deadline) -> Analysed:
        is_alone = self._in_flight <= self._detector.replicas
        canvases = (decoded.canvas, *decoded.tiles)
        inferred: Inferred = await self._detector.ask(
            "detect", deadline, canvases, params, is_alone, deadline.left_s
        )
        if params.detail != "fast":
            made = [one.kind for one in inferred.passes]
            if made[:1] != ["whole"] or made.count("tile") != len(decoded.tiles):
                raise InferenceError("the detector did not look at every part of the picture")
        return _analysed(decoded, decoded.queue_ms, inferred)

    async def _across_hosts(self, attempt: Callable[[Locker], Awaitable[T]]) -> T:
        if not self._inline:
            try:
                self._in_flight += 1
                with self._lockers.lend() as locker:
                    return await attempt(locker)
            except OtherHostError:
                logger.warning("a stage runs on another host: pictures travel inline from now on")
                self._inline = True
            finally:
                self._in_flight -= 1
        return await attempt(INLINE)


class LocalPipeline:
    """The same stages in this process: for one-shot commands, evaluation and tests without Ray."""

    def __init__(self, scrfd: Scrfd, max_pixels: int) -> None:
        self._scrfd = scrfd
        self._max_pixels = max_pixels
        self._session = asyncio.Lock()

    async def served_model(self) -> ServedModel:
        """The model in use."""
        scrfd = self._scrfd
        return ServedModel(scrfd.name, scrfd.supports_landmarks, scrfd.provider, scrfd.licence)

    async def detect(self, data: bytes, params: DetectParams, timeout_s: float) -> Analysed:
        """Find the faces of an encoded picture."""
        deadline = Deadline.after(timeout_s)
        decoded = await self._decode(data, False, params.detail)
        return _analysed(decoded, 0.0, await self._infer(decoded, params, deadline))

    async def mask(
        self, data: bytes, params: DetectParams, masking: MaskParams, timeout_s: float
    ) -> Anonymised:
        """Find the faces of an encoded picture, hide them, and encode the result."""
        deadline = Deadline.after(timeout_s)
        if masking.lossless:
            check_lossless(data, masking)
        decoded = await self._decode(data, not masking.lossless, params.detail)
        check_regions(masking.regions, decoded.info.width, decoded.info.height)
        inferred = await self._infer(decoded, params, deadline)
        boxes, skipped = boxes_to_hide(inferred, params, masking.choice)
        if masking.lossless:
            size = decoded.info.width, decoded.info.height
            masked = await asyncio.to_thread(mask_lossless, data, *size, boxes, masking)
        elif decoded.picture is None:
            raise InferenceError("the decoder sent no picture to mask")
        else:
            masked = await asyncio.to_thread(mask, decoded.picture, boxes, masking)
        return Anonymised(_analysed(decoded, 0.0, inferred), masked, 0.0, skipped)

    async def _decode(self, data: bytes, keep_picture: bool, detail: Detail) -> Decoded:
        return await asyncio.to_thread(
            decode, data, max_pixels=self._max_pixels, keep_picture=keep_picture, detail=detail
        )

    async def _infer(self, decoded: Decoded, params: DetectParams, deadline: Deadline) -> Inferred:
        if params.is_plain:
            answer = await self._submit(BatchItem(decoded.canvas, params, deadline, time.perf_counter()))
        else:
            canvases = (decoded.canvas, *decoded.tiles)
            answer = await search(self._submit, canvases, params, deadline, is_alone=True, at_once=1)
        if isinstance(answer, FaceError):
            raise answer
        return answer

    async def _submit(self, item: BatchItem) -> Inferred | FaceError:
        async with self._session:
            (answer,) = await asyncio.to_thread(infer_batch, self._scrfd, [item])
        return answer


def _analysed(decoded: Decoded | DecodedParcel, queue_ms: float, inferred: Inferred) -> Analysed:
    return Analysed(
        decoded.info,
        decoded.canvas.det_scale,
        queue_ms,
        decoded.decode_ms,
        decoded.preprocess_ms,
        inferred,
    )


@contextmanager
def _in_flight(decoded: DecodedParcel) -> Iterator[None]:
    """Around the time in which a decoded picture takes memory."""
    pixels = decoded.info.width * decoded.info.height
    pixels += sum(tile.pixels.shape[0] * tile.pixels.shape[1] for tile in decoded.tiles)
    DECODED_PIXELS.add(pixels)
    try:
        yield
    finally:
        DECODED_PIXELS.add(-pixels)
