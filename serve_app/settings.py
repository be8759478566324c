"""Every setting of the service: FACE_API_* variables, read once at start."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from models.resolve import ModelSource
from models.scrfd import ScrfdOptions


class SettingsError(Exception):
    """A setting is wrong; the message names the variable and what it takes."""


class Settings(BaseSettings):
    """What an operator may set. Replicas, GPUs and batch sizes live in the Ray config instead."""

    model_config = SettingsConfigDict(env_prefix="FACE_API_", frozen=True, populate_by_name=True)

    host: str = Field(default="0.0.0.0", description="Address to listen on.")  # noqa: S104 - it is a server
    port: int = Field(
        default=8000,
        ge=1,
        le=65535,
        validation_alias=AliasChoices("FACE_API_PORT", "PORT"),
        description="Port to listen on (also: PORT).",
    )
    model: str | None = Field(
        default=None,
        description="scrfd_10g, scrfd_2.5g, scrfd_500m, or an .onnx file. Unset: the most accurate at hand.",
    )
    model_dirs: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(Path("../shared/models"),),
        description=f"Folders with weights, looked through before downloading; separated by '{os.pathsep}'.",
    )
    model_mirror: str | None = Field(
        default=None, description="URL of a folder with the model archives, in place of the release."
    )
    data_dir: Path = Field(default=Path("var"), description="What the service keeps: weights, graphs.")
    provider: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="ONNX Runtime execution provider; cuda is an error where it cannot run."
    )
    threads: int = Field(default=0, ge=0, description="CPU threads of one session; 0 = one for each core.")
    max_upload_bytes: int = Field(default=20 * 2**20, gt=0, description="Larger bodies get 413.")
    max_image_pixels: int = Field(
        default=50_000_000, gt=0, description="Larger pictures get 413, judged from their header."
    )
    request_timeout_s: float = Field(
        default=30.0, gt=0, le=3600, description="Deadline of a request; later ones get 504."
    )
    max_in_flight: int = Field(
        default=256, gt=0, description="Requests one ingress replica works on; more get 503."
    )

    @field_validator("model_dirs", mode="before")
    @classmethod
    def _split_folders(cls, value: object) -> object:
        return tuple(value.split(os.pathsep)) if isinstance(value, str) else value

    @field_validator("model")
    @classmethod
    def _empty_is_unset(cls, value: str | None) -> str | None:
        return value or None

    def model_source(self) -> ModelSource:
        """Where weights may come from, as absolute paths."""
        folders = tuple(folder.resolve() for folder in self.model_dirs)
        return ModelSource(self.model, folders, (self.data_dir / "models").resolve(), self.model_mirror)

    def scrfd_options(self) -> ScrfdOptions:
        """How to load the detector."""
        prepared = (self.data_dir / "prepared").resolve()
        return ScrfdOptions(self.model_source(), prepared, self.provider, self.threads)


def load_settings(**given: Any) -> Settings:  # noqa: ANN401 - whatever a config says; checked here
    """Read the settings; `given` takes the place of variables.

    Raises:
        SettingsError: One of them is wrong.
    """
    unknown = sorted(set(given) - set(Settings.model_fields))
    if unknown:
        raise SettingsError(f"unknown settings in the Ray config's args: {', '.join(unknown)}")
    try:
        return Settings(**given)
    except ValidationError as error:
        problems = "; ".join(
            f"{_variable(problem['loc'])}: {problem['msg']} (got {problem['input']!r})"
            for problem in error.errors()
        )
        raise SettingsError(problems) from error


def _variable(location: tuple[int | str, ...]) -> str:
    name = str(location[0])
    return name if name in {"PORT", "FACE_API_PORT"} else f"FACE_API_{name.upper()}"
