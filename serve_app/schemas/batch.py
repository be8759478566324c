"""Query parameters of /api/v1/batch, a line of its NDJSON answer, and the manifest of its zip."""

from typing import Annotated, ClassVar, Final, Literal

from pydantic import BaseModel, Field, ValidationInfo, field_validator

from serve_app.schemas.detect import DetectResponse
from serve_app.schemas.mask import MaskQuery, MaskResponse

Task = Literal["detect", "mask"]
OF_ONE_PICTURE: Final = frozenset({"skip", "only", "face_count"})


class BatchQuery(MaskQuery):
    """What to do with each picture; the other parameters are those of /mask, or of /detect."""

    # Faces of one picture are chosen by these: no parameters of a batch.
    skip: ClassVar[None] = None  # type: ignore[misc] # pydantic's way to leave out a field
    only: ClassVar[None] = None  # type: ignore[misc] # as above
    face_count: ClassVar[None] = None  # type: ignore[misc] # as above

    task: Annotated[Task, Field(description="Find the faces, or hide them.")] = "mask"
    answer: Annotated[
        Literal["ndjson", "zip"],
        Field(description="A JSON line for each picture, or a zip of masked pictures with a manifest."),
    ] = "ndjson"

    @field_validator("answer")
    @classmethod
    def _zips_hold_pictures(cls, value: str, info: ValidationInfo) -> str:
        if value == "zip" and info.data.get("task") == "detect":
            raise ValueError("a zip holds masked pictures; task=detect answers with ndjson")
        return value


class BatchItem(BaseModel):
    """What became of one picture."""

    index: Annotated[int, Field(description="Its place in the request, from 0.")]
    filename: Annotated[str | None, Field(description="As the request named it.")]
    status: Annotated[int, Field(description="What a request of its own would have been answered with.")]
    detail: Annotated[str | None, Field(description="Why it failed.")]
    retry_after_s: Annotated[int | None, Field(description="Of 429 and 503: seconds.")]


class BatchLine(BatchItem):
    """One line of the answer; lines come as pictures are done."""

    result: Annotated[
        MaskResponse | DetectResponse | None, Field(description="None where the picture failed.")
    ]


class ManifestEntry(BatchItem):
    """One picture of the zip's `manifest.json`."""

    output: Annotated[str | None, Field(description="The masked picture's name in the zip.")]
    face_count: int | None
    uncertain_faces: int | None
    faces_skipped: int | None
    residual_faces: int | None
    image_id: str | None
    job_id: str | None


class BatchManifest(BaseModel):
    """`manifest.json`, the last file of the zip."""

    request_id: str
    items: list[ManifestEntry]
