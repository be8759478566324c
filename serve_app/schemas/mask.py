"""Query parameters of /api/v1/mask, and the answer of the mask test."""

import base64
from typing import Annotated

from pydantic import BaseModel, Field

from deployments.types import Anonymised, MaskMethod, MaskParams, OutputFormat
from models.types import DetectParams
from serve_app.schemas.detect import DetectQuery, DetectResponse, add_recorded, detect_answer, to_json
from serve_app.services.recording import NOTHING, Recorded


class MaskQuery(DetectQuery):
    """Tuning parameters of detection, and how faces are hidden."""

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

    def mask_params(self) -> MaskParams:
        """As the pipeline takes them."""
        return MaskParams(self.method, self.strength, self.padding, self.format, self.quality)


class Masking(BaseModel):
    """How faces were hidden."""

    method: MaskMethod
    strength: int
    padding: float
    regions_masked: int


class Output(BaseModel):
    """The masked picture."""

    format: OutputFormat
    quality: int
    size_bytes: int
    image_base64: str


class MaskResponse(DetectResponse):
    """Answer of the mask test: the faces, and the picture with every one of them hidden."""

    masking: Masking
    output: Output


def mask_body(
    request_id: str,
    result: Anonymised,
    params: DetectParams,
    masking: MaskParams,
    total_ms: float,
    recorded: Recorded = NOTHING,
) -> bytes:
    """JSON of a MaskResponse."""
    masked = result.masked
    answer = add_recorded(detect_answer(request_id, result.analysed, params, total_ms), recorded)
    answer["profiling"] |= {
        "mask_ms": round(masked.mask_ms, 2),
        "encode_ms": round(masked.encode_ms, 2),
        "output_bytes": len(masked.data),
    }
    answer["masking"] = {
        "method": masking.method,
        "strength": masking.strength,
        "padding": masking.padding,
        "regions_masked": masked.regions_masked,
    }
    answer["output"] = {
        "format": masking.format,
        "quality": masking.quality,
        "size_bytes": len(masked.data),
        "image_base64": base64.b64encode(masked.data).decode(),
    }
    return to_json(answer)
