"""The order of the stages, and nothing else: over Ray Serve handles, or in one process without Ray."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

import numpy as np

from deployments.deadline import Deadline
from deployments.decoding.decode import decode
from deployments.detection.batch import BatchItem, infer_batch
from deployments.detection.search import search
from deployments.errors import MaskingError
from deployments.masking.boxes import boxes_to_hide
from deployments.masking.choice import check_regions
from deployments.masking.fill import fill_picture, with_patch
from deployments.masking.lossless import check_lossless, mask_lossless
from deployments.masking.mask import mask
from deployments.masking.regions import region_boxes
from deployments.masking.verify import hide_until_unseen, left_faces, residual_faces, second_look
from deployments.metrics import DECODED_PIXELS
from deployments.parcels import DecodedParcel, MaskedParcel
from deployments.poison import Quarantine
from deployments.stage import Stage
from deployments.transport import INLINE, Locker, Lockers, OtherHostError, Parcel, receive, send
from deployments.types import (
    EVERY_FACE,
    Analysed,
    Anonymised,
    Decoded,
    DecodeParams,
    ImageInfo,
    Inferred,
    Masked,
    MaskParams,
    Picture,
    ServedModel,
)
from models.errors import FaceError, InferenceError
from models.scrfd import Scrfd
from models.types import DetectParams, Float32Array

T = TypeVar("T")
logger = logging.getLogger("face_api.pipeline")


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
        decoded = await self._decode(data, upload, DecodeParams(False, params.detail), locker, deadline)
        with _in_flight(decoded):
            return await self._find(decoded, params, deadline)

    async def _mask(
        self, data: bytes, params: DetectParams, masking: MaskParams, locker: Locker, deadline: Deadline
    ) -> Anonymised:
        if masking.lossless:
            check_lossless(data, masking)
        upload = send(np.frombuffer(data, np.uint8), locker)
        wanted = DecodeParams(not masking.lossless, params.detail, same_canvas=masking.same_canvas)
        decoded = await self._decode(data, upload, wanted, locker, deadline)
        check_regions(masking.regions, decoded.info.width, decoded.info.height)
        if (fill_image := fill_picture(masking)) is not None:
            masking = with_patch(masking, await self._decode_patch(fill_image, deadline))
        with _in_flight(decoded):
            analysed = await self._find(decoded, params, deadline)
            boxes, skipped = boxes_to_hide(analysed.inferred, params, masking.choice)

            async def hide(masking: MaskParams) -> MaskedParcel:
                if masking.lossless:
                    parcel = await self._hide_lossless(data, upload, decoded, boxes, masking, deadline)
                else:
                    parcel = await self._hide(decoded, boxes, masking, deadline)
                if parcel.regions_masked != len(boxes) + masking.region_count:
                    raise MaskingError("the masker's answer is no masked picture")
                return parcel

            if not masking.verify:
                return _anonymised(analysed, await hide(masking), boxes, masking, skipped)
            left = left_faces(analysed.inferred.detections.boxes, boxes)

            async def look(parcel: MaskedParcel) -> Float32Array:
                found = await self._look_again(parcel, decoded.info, params, locker, deadline)
                return residual_faces(found, left, masking)

            last = await hide_until_unseen(hide, look, masking)
            done = _anonymised(analysed, last.masked, boxes, last.masking, skipped)
            return replace(done, residual_faces=last.residual_faces, verify_ms=last.look_ms)

    async def _look_again(
        self, parcel: MaskedParcel, info: ImageInfo, params: DetectParams, locker: Locker, deadline: Deadline
    ) -> Float32Array:
        """Every face (N, 4) in a masked picture, through the same stages; its canvases lie behind it."""
        params = second_look(params)
        decoded: DecodedParcel = await self._decoder.ask(
            "decode", deadline, parcel.data, DecodeParams(False, params.detail), locker, deadline.left_s
        )
        if (decoded.info.width, decoded.info.height) != (info.width, info.height):
            raise MaskingError("the masked picture is not of its original's size")
        found = (await self._find(decoded, params, deadline)).inferred
        return boxes_to_hide(found, params, EVERY_FACE)[0]

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
        params: DecodeParams,
        locker: Locker,
        deadline: Deadline,
    ) -> DecodedParcel:
        with self._quarantine.decoding(data):
            decoded: DecodedParcel = await self._decoder.ask(
                "decode", deadline, upload, params, locker, deadline.left_s
            )
        return decoded

    async def _decode_patch(self, fill_image: bytes, deadline: Deadline) -> Picture | None:
        """Inline: the request's locker is laid out for one picture."""
        upload = send(np.frombuffer(fill_image, np.uint8), INLINE)
        decoded = await self._decode(fill_image, upload, DecodeParams(True), INLINE, deadline)
        return None if decoded.picture is None else decoded.picture.unpack()

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
        return ServedModel(scrfd.name, scrfd.supports_landmarks, scrfd.provider, scrfd.licence, scrfd.digest)

    async def detect(self, data: bytes, params: DetectParams, timeout_s: float) -> Analysed:
        """Find the faces of an encoded picture."""
        deadline = Deadline.after(timeout_s)
        decoded = await self._decode(data, DecodeParams(False, params.detail))
        return _analysed(decoded, 0.0, await self._infer(decoded, params, deadline))

    async def mask(
        self, data: bytes, params: DetectParams, masking: MaskParams, timeout_s: float
    ) -> Anonymised:
        """Find the faces of an encoded picture, hide them, and encode the result."""
        deadline = Deadline.after(timeout_s)
        if masking.lossless:
            check_lossless(data, masking)
        wanted = DecodeParams(not masking.lossless, params.detail, same_canvas=masking.same_canvas)
        decoded = await self._decode(data, wanted)
        check_regions(masking.regions, decoded.info.width, decoded.info.height)
        if (fill_image := fill_picture(masking)) is not None:
            masking = with_patch(masking, (await self._decode(fill_image, DecodeParams(True))).picture)
        inferred = await self._infer(decoded, params, deadline)
        boxes, skipped = boxes_to_hide(inferred, params, masking.choice)
        size = decoded.info.width, decoded.info.height

        async def hide(masking: MaskParams) -> Masked:
            if masking.lossless:
                return await asyncio.to_thread(mask_lossless, data, *size, boxes, masking)
            if decoded.picture is None:
                raise InferenceError("the decoder sent no picture to mask")
            # Verifying begins anew from the original: then it must not be written to.
            pixels = decoded.picture.pixels.copy() if masking.verify else decoded.picture.pixels
            picture = Picture(pixels, decoded.picture.icc_profile)
            return await asyncio.to_thread(mask, picture, boxes, masking)

        analysed = _analysed(decoded, 0.0, inferred)
        if not masking.verify:
            return Anonymised(analysed, await hide(masking), 0.0, skipped, hidden=_hidden(boxes, masking))
        left = left_faces(inferred.detections.boxes, boxes)

        async def look(masked: Masked) -> Float32Array:
            again = second_look(params)
            found = await self._infer(
                await self._decode(masked.data, DecodeParams(False, again.detail)), again, deadline
            )
            return residual_faces(boxes_to_hide(found, again, EVERY_FACE)[0], left, masking)

        last = await hide_until_unseen(hide, look, masking)
        hidden = _hidden(boxes, last.masking)
        return Anonymised(analysed, last.masked, 0.0, skipped, last.residual_faces, last.look_ms, hidden)

    async def _decode(self, data: bytes, params: DecodeParams) -> Decoded:
        return await asyncio.to_thread(
            decode,
            data,
            max_pixels=self._max_pixels,
            keep_picture=params.keep_picture,
            detail=params.detail,
            same_canvas=params.same_canvas,
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


def _anonymised(
    analysed: Analysed, parcel: MaskedParcel, boxes: Float32Array, masking: MaskParams, skipped: int
) -> Anonymised:
    encoded = receive(parcel.data).tobytes()
    if not encoded:
        raise MaskingError("the masker's answer is no masked picture")
    times = (parcel.mask_ms, parcel.encode_ms)
    masked = Masked(encoded, parcel.regions_masked, *times, parcel.strength_raised)
    return Anonymised(analysed, masked, parcel.queue_ms, skipped, hidden=_hidden(boxes, masking))


def _hidden(boxes: Float32Array, masking: MaskParams) -> Float32Array:
    """(N, 4) all that was hidden: faces, then regions."""
    if not masking.region_count:
        return boxes
    hidden: Float32Array = np.concatenate([boxes, region_boxes(masking.regions + masking.black)])
    return hidden


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
