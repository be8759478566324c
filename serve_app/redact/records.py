"""What was done to one source: a line of the manifest."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from deployments.types import MaskParams
from models.types import DetectParams

Status = Literal["masked", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of the source, not yet looked at."""

    name: str  # relative, with slashes between folders
    size_bytes: int
    version: str  # another one when its bytes may be others: time of change, ETag, CRC


@dataclass(frozen=True, slots=True)
class Record:
    """What was done to one source. Made by Redactor; a JSON line of the manifest."""

    source: str
    version: str
    size_bytes: int
    status: Status
    reason: str | None = None  # why there is no output
    sha256: str | None = None  # of the source; None where it was not read whole
    faces: int | None = None  # found
    uncertain_faces: int | None = None  # where --uncertain looks for them
    residual_faces: int | None = None  # with --verify: found in the first masked picture, hidden since
    faces_skipped: int | None = None  # of those, left as they are because --min-face says so
    output: str | None = None
    output_bytes: int | None = None
    output_sha256: str | None = None
    done_at: str = ""  # UTC, ISO 8601
    is_trouble: bool = False  # the place failed, not the picture: not part of the line


@dataclass(frozen=True, slots=True)
class Redaction:
    """What a target is made with: the same from its first run to its last."""

    source: str
    parameters: dict[str, Any]
    model: dict[str, str]  # name, sha256

    def line(self, record: Record) -> str:
        """A record as a line of JSON, ASCII, without its end."""
        fields = {name: value for name, value in asdict(record).items() if name != "is_trouble"}
        return json.dumps({**fields, "parameters": self.parameters, "model": self.model})


def parameters_of(params: DetectParams, masking: MaskParams) -> dict[str, Any]:
    """All of them by name, as JSON gives them back."""
    parameters: dict[str, Any] = json.loads(json.dumps(asdict(params) | asdict(masking)))
    return parameters


def to_json(value: Entry | Record) -> str:
    """For the way through Ray: names may hold what is no UTF-8."""
    return json.dumps(asdict(value))


def entry_from_json(text: str) -> Entry:
    """Back from `to_json`."""
    return Entry(**json.loads(text))


def record_from_json(text: str) -> Record:
    """Back from `to_json`."""
    return Record(**json.loads(text))
