"""Query parameters of /api/v1/mask."""

from typing import Annotated

from pydantic import Field

from deployments.types import MaskMethod, MaskParams, OutputFormat
from serve_app.schemas.detect import DetectQuery


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
