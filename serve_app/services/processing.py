"""A picture's way through the pipeline with its recording beside it."""

import time
from dataclasses import dataclass, replace
from uuid import UUID

from deployments.types import Analysed, Anonymised, FacePipeline, MaskParams
from models.types import Detections, DetectParams
from serve_app.body import Upload
from serve_app.repositories.jobs import Job
from serve_app.schemas.detect import detection_list
from serve_app.services.recording import NOTHING, Keep, Recorded, Recorder, Recording, Result


@dataclass(frozen=True, slots=True)
class Detected:
    """A picture's faces, and whether they were stored."""

    analysed: Analysed
    recorded: Recorded

    @property
    def faces(self) -> Detections:
        """What was found."""
        return self.analysed.inferred.detections


@dataclass(frozen=True, slots=True)
class Hidden:
    """A masked picture, and whether it was stored."""

    anonymised: Anonymised
    recorded: Recorded

    @property
    def faces(self) -> Detections:
        """What was found, and hidden."""
        return self.anonymised.analysed.inferred.detections


class Processing:
    """The pipeline, and storage where it is on."""

    def __init__(self, pipeline: FacePipeline, recorder: Recorder | None) -> None:
        self._pipeline = pipeline
        self._recorder = recorder

    async def detect(
        self, upload: Upload, params: DetectParams, keep: Keep, key_id: UUID | None, timeout_s: float
    ) -> Detected:
        """Find the faces; the upload of the original overlaps."""
        started = time.perf_counter()
        recording = self._recorder.begin(upload, keep, None, key_id) if self._recorder else None
        if recording is None:
            return Detected(await self._pipeline.detect(upload.data, params, timeout_s), NOTHING)
        try:
            analysed = await self._pipeline.detect(upload.data, params, timeout_s)
        except BaseException:
            recording.abandon()
            raise
        job = _job(recording, analysed, params, started)
        return Detected(analysed, await recording.finish(analysed.info, job, None))

    async def mask(
        self,
        upload: Upload,
        params: DetectParams,
        masking: MaskParams,
        keep: Keep,
        key_id: UUID | None,
        timeout_s: float,
    ) -> Hidden:
        """Find and hide the faces; the upload of the original overlaps."""
        if upload.fill_image is not None:
            masking = replace(masking, fill_image=upload.fill_image)
        started = time.perf_counter()
        recording = self._recorder.begin(upload, keep, masking.format, key_id) if self._recorder else None
        if recording is None:
            return Hidden(await self._pipeline.mask(upload.data, params, masking, timeout_s), NOTHING)
        try:
            anonymised = await self._pipeline.mask(upload.data, params, masking, timeout_s)
        except BaseException:
            recording.abandon()
            raise
        job = _job(recording, anonymised.analysed, params, started, masking, len(anonymised.masked.data))
        result = Result(anonymised.masked.data, masking.format)
        return Hidden(anonymised, await recording.finish(anonymised.analysed.info, job, result))


def _job(
    recording: Recording,
    analysed: Analysed,
    params: DetectParams,
    started: float,
    masking: MaskParams | None = None,
    result_bytes: int | None = None,
) -> Job:
    """What is noted of a request; `started` by time.perf_counter()."""
    detections = analysed.inferred.detections
    return Job(
        id=recording.job_id,
        image_id=recording.image_id,
        job_type="detect" if masking is None else "mask",
        status="completed",
        confidence_threshold=params.confidence,
        nms_threshold=params.nms_threshold,
        blur_method=masking.method if masking else None,
        blur_strength=masking.strength if masking else None,
        padding=masking.padding if masking else None,
        output_format=masking.format if masking else None,
        output_quality=masking.quality if masking else None,
        face_count=len(detections.boxes),
        processed_s3_key=recording.result_key,
        processed_size_bytes=result_bytes,
        inference_ms=analysed.inferred.inference_ms,
        total_ms=(time.perf_counter() - started) * 1e3,
        detections=detection_list(detections, analysed.info),
    )
