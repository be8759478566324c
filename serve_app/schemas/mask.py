"""Query parameters of /api/v1/mask, and the answer of the mask test."""

import base64
from collections.abc import Callable
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field, WithJsonSchema

from deployments.masking.mask import style
from deployments.types import Anonymised, MaskFill, MaskMethod, MaskParams, MaskShape, OutputFormat, Patch
from models.types import DetectParams
from serve_app.schemas.choice import (
    FILL_PATTERN,
    INDICES_PATTERN,
    REGIONS_PATTERN,
    face_choice,
    parse_fill,
    parse_indices,
    parse_regions,
)
from serve_app.schemas.detect import DetectQuery, DetectResponse, add_recorded, detect_answer, to_json
from serve_app.services.recording import NOTHING, Recorded


def _written_as(parse: Callable[[str], object]) -> AfterValidator:
    """Refuses text that `parse` refuses. It stays text: FastAPI would ask for a list's items one by one."""

    def check(text: str) -> str:
        parse(text)
        return text

    return AfterValidator(check)


class MaskQuery(DetectQuery):
    """Tuning parameters of detection, and what is hidden how."""

    method: Annotated[MaskMethod, Field(description="What hides a face.")] = "gaussian"
    strength: Annotated[
        int, Field(ge=1, le=999, description="Kernel or block size in pixels, for faces up to 200 px.")
    ] = 199
    padding: Annotated[
        float,
        Field(ge=0.0, le=1.0, allow_inf_nan=False, description="Share of the box added on every side."),
    ] = 0.15
    format: Annotated[OutputFormat, Field(description="Format of the answer.")] = "jpeg"
    quality: Annotated[int, Field(ge=1, le=100, description="Of jpeg and webp.")] = 95
    shape: Annotated[MaskShape | None, Field(description="In place of the method's shape.")] = None
    fill: Annotated[
        Annotated[str, WithJsonSchema({"type": "string", "pattern": FILL_PATTERN})] | None,
        _written_as(parse_fill),
        Field(
            description="In place of what the method hides with: `blur`, `pixelate`, `solid` (black), "
            "`image` (the part `fill_image`), or `color:#rrggbb`, whose `#` is `%23` in a URL and may be "
            "left out.",
            examples=["blur", "pixelate", "solid", "color:#1f6f5c"],
        ),
    ] = None
    strength_floor: Annotated[
        Literal["on", "off"],
        Field(description="`on` raises a strength by which a face could be known again; `off` does not."),
    ] = "on"
    min_face: Annotated[
        int,
        Field(
            ge=0, le=65535, description="Faces whose longer side is smaller (pixels) are left as they are."
        ),
    ] = 0
    regions: Annotated[
        str | None,
        _written_as(parse_regions),
        Field(
            description="Hide these as well: JSON, [[x, y, width, height], ...] in pixels of the upright "
            "picture.",
            examples=["[[10, 20, 80, 90]]"],
            json_schema_extra={"pattern": REGIONS_PATTERN},
        ),
    ] = None
    skip: Annotated[
        str | None,
        _written_as(parse_indices),
        Field(
            description="Leave these faces as they are: JSON, [index, ...] as /detect numbers them when "
            "asked with the same parameters. Needs `face_count`.",
            examples=["[0, 2]"],
            json_schema_extra={"pattern": INDICES_PATTERN},
        ),
    ] = None
    only: Annotated[
        str | None,
        _written_as(parse_indices),
        Field(
            description="Hide these faces only; otherwise as `skip`.",
            examples=["[1]"],
            json_schema_extra={"pattern": INDICES_PATTERN},
        ),
    ] = None
    face_count: Annotated[
        int | None,
        Field(
            ge=0,
            le=2**31 - 1,
            description="With `skip` or `only`: `summary.face_count` of that detection. When another number "
            "is found, the request is refused.",
        ),
    ] = None

    lossless: Annotated[
        bool,
        Field(
            description="JPEG to JPEG: encode nothing anew but the blocks under masks, with the file's own "
            "quality. Other pictures get 415."
        ),
    ] = False
    verify: Annotated[
        bool,
        Field(
            description="Look at the masked picture again, and hide harder what is still found; when even "
            "that shows, the request fails with 422. Takes as long again as detection."
        ),
    ] = False

    def mask_params(self) -> MaskParams:
        """As the pipeline takes them.

        Raises:
            ChoiceError: Some of them do not go together.
        """
        return MaskParams(
            self.method,
            self.strength,
            self.padding,
            self.format,
            self.quality,
            self.shape,
            None if self.fill is None else parse_fill(self.fill),
            self.strength_floor == "on",
            () if self.regions is None else parse_regions(self.regions),
            face_choice(self.skip, self.only, self.face_count, self.min_face),
            lossless=self.lossless,
            verify=self.verify,
        )


class MaskImageQuery(MaskQuery):
    """The same, for a picture that may be stored already, with or without a receipt."""

    image_id: Annotated[
        UUID | None,
        Field(
            description="In place of a picture: one that this API key sent before, whose original is stored."
        ),
    ] = None
    receipt: Annotated[
        bool,
        Field(
            description="Answer in JSON, with the picture in base64 and a signed statement of what was done: "
            "`face-api receipt verify` and any JWS library check it."
        ),
    ] = False


class Masking(BaseModel):
    """How faces were hidden."""

    method: MaskMethod
    strength: int
    padding: float
    regions_masked: int
    shape: MaskShape
    fill: str
    strength_raised: int
    faces_skipped: int
    residual_faces: int | None


class Output(BaseModel):
    """The masked picture."""

    format: OutputFormat
    quality: int
    lossless: bool
    size_bytes: int
    image_base64: str


class MaskResponse(DetectResponse):
    """Answer of the mask test: the faces, and the picture with every one of them hidden."""

    masking: Masking
    output: Output


class ReceiptResponse(MaskResponse):
    """Answer of /mask with `receipt=true`."""

    receipt: str


def mask_body(
    request_id: str,
    result: Anonymised,
    params: DetectParams,
    masking: MaskParams,
    total_ms: float,
    recorded: Recorded = NOTHING,
    receipt: str | None = None,
) -> bytes:
    """JSON of a MaskResponse, or with a receipt of a ReceiptResponse."""
    masked = result.masked
    answer = add_recorded(detect_answer(request_id, result.analysed, params, total_ms), recorded)
    answer["profiling"] |= {
        "mask_ms": round(masked.mask_ms, 2),
        "encode_ms": round(masked.encode_ms, 2),
        "output_bytes": len(masked.data),
    }
    shape, fill = style(masking)
    answer["masking"] = {
        "method": masking.method,
        "strength": masking.strength,
        "padding": masking.padding,
        "regions_masked": masked.regions_masked,
        "shape": shape,
        "fill": fill_text(fill),
        "strength_raised": masked.strength_raised,
        "faces_skipped": result.faces_skipped,
        "residual_faces": result.residual_faces,
    }
    answer["output"] = {
        "format": masking.format,
        "quality": masking.quality,
        "lossless": masking.lossless,
        "size_bytes": len(masked.data),
        "image_base64": base64.b64encode(masked.data).decode(),
    }
    if receipt is not None:
        answer["receipt"] = receipt
    return to_json(answer)


def choice_headers(result: Anonymised) -> dict[str, str]:
    """What an answer says of faces that were not hidden, or not hidden as asked; nothing where all were."""
    said = {"X-Faces-Skipped": result.faces_skipped, "X-Strength-Raised": result.masked.strength_raised}
    headers = {name: str(count) for name, count in said.items() if count}
    if result.residual_faces is not None:
        headers["X-Residual-Faces"] = str(result.residual_faces)
    return headers


def fill_text(fill: MaskFill) -> str:
    """As a query writes it."""
    if isinstance(fill, Patch):
        return "image"
    return fill if isinstance(fill, str) else f"color:#{bytes(fill).hex()}"
