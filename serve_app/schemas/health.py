"""The answer of /health."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class HealthResponse(BaseModel):
    """The model and every tier; `*_ready` is null while that tier is off."""

    model_config = ConfigDict(protected_namespaces=())

    status: Literal["ok", "degraded"]
    model: str | None
    model_loaded: bool
    model_licence: str | None
    input_size: tuple[int, int]
    supports_landmarks: bool
    provider: str | None
    database_enabled: bool
    database_ready: bool | None
    storage_enabled: bool
    storage_ready: bool | None
