"""A batch's answer, piece by piece: lines of JSON, or a zip of masked pictures and its manifest."""

import json
from typing import Any, Final, Protocol

from models.types import DetectParams
from serve_app.batch.work import Outcome
from serve_app.batch.zip_stream import ZipStream
from serve_app.schemas.batch import BatchQuery
from serve_app.schemas.detect import detect_body, to_json
from serve_app.schemas.mask import mask_body
from serve_app.services.processing import Hidden
from serve_app.storage.names import safe_path

MANIFEST: Final = "manifest.json"
FACTS: Final = (
    "output",
    "face_count",
    "uncertain_faces",
    "faces_skipped",
    "residual_faces",
    "image_id",
    "job_id",
)
"""Of a masked picture, in the manifest; null where there is none."""


class BatchAnswer(Protocol):
    """Turns outcomes into the bytes of an answer."""

    media_type: str

    def add(self, outcome: Outcome) -> bytes:
        """What one outcome adds to the answer."""
        ...

    def end(self) -> bytes:
        """What comes after the last outcome."""
        ...


def make_answer(query: BatchQuery, request_id: str) -> BatchAnswer:
    """The answer that was asked for."""
    return ZipAnswer(query, request_id) if query.answer == "zip" else LineAnswer(query, request_id)


class LineAnswer:
    """One JSON object a line: schemas.batch.BatchLine."""

    media_type = "application/x-ndjson"

    def __init__(self, query: BatchQuery, request_id: str) -> None:
        self._params: DetectParams = query.detect_params()
        self._masking = query.mask_params()
        self._request_id = request_id

    def add(self, outcome: Outcome) -> bytes:
        """Its line."""
        head = json.dumps(_head(outcome), separators=(",", ":")).encode()
        return head[:-1] + b',"result":' + self._result(outcome) + b"}\n"

    def end(self) -> bytes:
        """Nothing."""
        return b""

    def _result(self, outcome: Outcome) -> bytes:
        if outcome.done is None:
            return b"null"
        value, total_ms = outcome.done.value, outcome.done.total_ms
        if isinstance(value, Hidden):
            return mask_body(
                self._request_id, value.anonymised, self._params, self._masking, total_ms, value.recorded
            )
        return detect_body(self._request_id, value.analysed, self._params, total_ms, value.recorded)


class ZipAnswer:
    """Each masked picture under its own name, then `manifest.json`: schemas.batch.BatchManifest."""

    media_type = "application/zip"

    def __init__(self, query: BatchQuery, request_id: str) -> None:
        self._format = query.mask_params().format
        self._request_id = request_id
        self._zip = ZipStream()
        self._names = {MANIFEST}  # lower case: some file systems do not tell a from A
        self._entries: list[dict[str, Any]] = []

    def add(self, outcome: Outcome) -> bytes:
        """The masked picture; nothing where there is none."""
        entry = _head(outcome) | dict.fromkeys(FACTS)
        self._entries.append(entry)
        if outcome.done is None or not isinstance(outcome.done.value, Hidden):
            return b""
        value = outcome.done.value
        entry["output"] = self._free_name(outcome.filename)
        entry["face_count"] = len(value.faces.boxes)
        if value.anonymised.analysed.inferred.uncertain is not None:
            entry["uncertain_faces"] = len(value.anonymised.analysed.inferred.uncertain.boxes)
        entry["faces_skipped"] = value.anonymised.faces_skipped
        entry["residual_faces"] = value.anonymised.residual_faces
        if value.recorded.image_id is not None:
            entry |= {"image_id": str(value.recorded.image_id), "job_id": str(value.recorded.job_id)}
        return self._zip.add(entry["output"], value.anonymised.masked.data)

    def end(self) -> bytes:
        """The manifest, in the order of the request, and the zip's directory."""
        items = sorted(self._entries, key=lambda entry: int(entry["index"]))
        manifest = {"request_id": self._request_id, "items": items}
        return self._zip.add(MANIFEST, to_json(manifest)) + self._zip.end()

    def _free_name(self, filename: str | None) -> str:
        name = free = safe_path(filename, self._format)
        stem, dot, extension = name.rpartition(".")
        number = 1
        while free.lower() in self._names:
            number += 1
            free = f"{stem}-{number}{dot}{extension}"
        self._names.add(free.lower())
        return free


def _head(outcome: Outcome) -> dict[str, Any]:
    return {
        "index": outcome.index,
        "filename": outcome.filename,
        "status": outcome.status,
        "detail": outcome.detail,
        "retry_after_s": outcome.retry_after_s,
    }
