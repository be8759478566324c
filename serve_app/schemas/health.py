"""The answer of /health."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class HealthResponse(BaseModel):
    """The model and every tier; `*_ready` is null while that tier is off."""

    model_config = ConfigDict(protected_namespaces=())

    status: Literal["ok", "degraded"]
    model: str | None
    model_loaded: bool
    model_licence: str | None
    input_size: Annotated[list[int], Field(min_length=2, max_length=2)]  # width, height
    supports_landmarks: bool
    provider: str | None
    database_enabled: bool
    database_ready: bool | None
    storage_enabled: bool
    storage_ready: bool | None
