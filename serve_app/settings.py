"""Every setting of the service: FACE_API_* variables, read once at start."""

import os
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any

import argon2
from argon2.exceptions import InvalidHashError
from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from models.resolve import ModelSource
from models.scrfd import ScrfdOptions
from models.session import Precision, Provider
from serve_app.ratelimit.limit import RateLimit, parse_rate_limit

Network = IPv4Network | IPv6Network
DATABASE_SCHEMES = ("postgresql://", "postgres://")
OFF = "off"


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
        description="scrfd_10g, scrfd_2.5g, scrfd_500m, faceapi_small, or an .onnx file. Unset: the most "
        "accurate at hand.",
    )
    model_dirs: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(Path("../shared/models"),),
        description=f"Folders with weights, looked through before downloading; separated by '{os.pathsep}'.",
    )
    model_mirror: str | None = Field(
        default=None, description="URL of a folder with the model archives, in place of the release."
    )
    data_dir: Path = Field(default=Path("var"), description="What the service keeps: weights, graphs.")
    provider: Provider = Field(
        default="auto",
        description="cuda; tensorrt (slow at its first start); openvino (CPUs); cpu (ONNX Runtime, fp32, "
        "the reference). auto: cuda where a device answers, else openvino. One that was named and cannot run "
        "is an error.",
    )
    precision: Precision = Field(
        default="auto",
        description="Of cuda and tensorrt: fp16 or fp32; auto: fp16. Of openvino: fp32, bf16 or int8; auto: "
        "int8 where there are activation ranges for the weights, else bf16; int8 without is an error.",
    )
    threads: int = Field(default=0, ge=0, description="CPU threads of one session; 0 = one for each core.")
    max_upload_bytes: int = Field(default=20 * 2**20, gt=0, description="Larger bodies get 413.")
    max_image_pixels: int = Field(
        default=50_000_000, gt=0, description="Larger pictures get 413, judged from their header."
    )
    max_pixels_in_flight: int = Field(
        default=400_000_000,
        gt=0,
        description="Pixels of all pictures that one ingress replica has in its stages; more wait.",
    )
    batch_max_items: int = Field(
        default=100, gt=0, le=10_000, description="Pictures of one /batch; more get 413."
    )
    batch_max_bytes: int = Field(
        default=100 * 2**20, gt=0, description="Bytes of all pictures of one /batch, unpacked; more get 413."
    )
    max_batches_in_flight: int = Field(
        default=4, gt=0, description="Batches one ingress replica holds in memory; more get 503."
    )
    request_timeout_s: float = Field(
        default=30.0,
        gt=0,
        le=3600,
        description="Deadline of a request; later ones get 504, and who would wait for three quarters of it "
        "gets 503 at once.",
    )
    max_in_flight: int = Field(
        default=256, gt=0, description="Requests one ingress replica works on; more get 503."
    )

    database_url: SecretStr | None = Field(
        default=None,
        description="postgresql://user:password@host/name. Unset: `face-api serve` runs a PostgreSQL of its "
        "own. `off`: no database, so no API keys and no admin API.",
    )
    database_pool_size: int = Field(
        default=5, ge=1, le=100, description="Most connections of one ingress replica, one more for events."
    )
    api_key_enabled: bool = Field(default=True, description="/detect and /mask need an API key.")
    api_key_grace_s: float = Field(
        default=600.0, ge=0, description="How long a key is believed after the database went away, seconds."
    )
    admin_user: str = Field(default="admin", min_length=1, description="Name of the administrator.")
    admin_password: SecretStr | None = Field(
        default=None, description="The administrator's password, or an argon2 hash of it."
    )
    admin_session_ttl_s: int = Field(default=43200, gt=0, description="Lifetime of a session, seconds.")
    rate_limit_detect: str = Field(default="300/minute", description="For each API key; or `off`.")
    rate_limit_mask: str = Field(default="150/minute", description="For each API key; or `off`.")
    rate_limit_login: str = Field(default="10/minute", description="For each client address; or `off`.")
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = Field(
        default=(),
        description="Addresses or networks, separated by commas, whose X-Forwarded-For is believed.",
    )
    storage_enabled: bool = Field(default=False, description="Keep originals and results in S3.")
    s3_endpoint: str | None = Field(default=None, description="URL of an S3 server; unset: AWS.")
    s3_public_endpoint: str | None = Field(
        default=None, description="URL under which clients reach the S3 server, in links to results."
    )
    s3_region: str = Field(default="us-east-1", description="Region of the bucket.")
    s3_bucket: str = Field(default="face-api", min_length=3, description="Bucket of originals and results.")
    s3_access_key: str | None = Field(default=None, description="Unset: AWS's usual places.")
    s3_secret_key: SecretStr | None = Field(default=None, description="Secret of the access key.")
    s3_link_ttl_s: int = Field(default=900, ge=1, le=604800, description="Lifetime of signed links, seconds.")
    storage_wait_ms: int = Field(
        default=2000, ge=0, description="How long an answer waits until all is stored; then its ids are null."
    )
    storage_max_in_flight: int = Field(
        default=32, gt=0, description="Pictures one ingress replica is storing; more are not stored."
    )
    retention_days: float | None = Field(
        default=None, gt=0, description="Images older than this are deleted. Unset: kept."
    )
    receipt_key: Path | None = Field(
        default=None,
        description="PEM file with the Ed25519 key that signs receipts, the same on all machines "
        "(`face-api receipt new-key`). Unset: `receipt_key.pem` in the data folder, which "
        "`face-api serve` makes.",
    )
    metrics_host: str = Field(default="127.0.0.1", description="Address of the metrics endpoint.")
    metrics_port: int = Field(default=9464, ge=0, le=65535, description="Port of /metrics; 0 = none.")

    @field_validator("rate_limit_detect", "rate_limit_mask", "rate_limit_login")
    @classmethod
    def _is_a_rate_limit(cls, value: str) -> str:
        parse_rate_limit(value)
        return value

    @field_validator("admin_password")
    @classmethod
    def _is_a_whole_hash(cls, value: SecretStr | None) -> SecretStr | None:
        text = value.get_secret_value() if value else ""
        if text.startswith("$argon2"):
            try:
                argon2.extract_parameters(text)
            except InvalidHashError as error:
                raise ValueError("begins like an argon2 hash but is none") from error
        return value if text else None

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _split_networks(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(ip_network(part.strip()) for part in value.split(",") if part.strip())

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        text = value.get_secret_value() if value else ""
        if text and text != OFF and not text.startswith(DATABASE_SCHEMES):
            raise ValueError("must begin with postgresql://, or be `off`")
        return value if text else None

    @field_validator("model_dirs", mode="before")
    @classmethod
    def _split_folders(cls, value: object) -> object:
        return tuple(value.split(os.pathsep)) if isinstance(value, str) else value

    @field_validator("model")
    @classmethod
    def _empty_is_unset(cls, value: str | None) -> str | None:
        return value or None

    @property
    def database(self) -> str | None:
        """URL of the database, None while the database tier is off."""
        url = self.database_url.get_secret_value() if self.database_url else OFF
        return None if url == OFF else url

    @property
    def postgres_dir(self) -> Path:
        """Where the embedded PostgreSQL keeps its data."""
        return (self.data_dir / "postgres").resolve()

    @property
    def objects_dir(self) -> Path:
        """Where the embedded S3 server keeps its data."""
        return (self.data_dir / "objects").resolve()

    @property
    def credentials_file(self) -> Path:
        """What the first start with the embedded PostgreSQL writes: address, password, API key."""
        return (self.data_dir / "credentials.json").resolve()

    @property
    def receipt_key_file(self) -> Path:
        """The key that signs receipts."""
        return (self.receipt_key or self.data_dir / "receipt_key.pem").resolve()

    @property
    def ranges_dir(self) -> Path:
        """Where `face-api models calibrate` keeps activation ranges."""
        return (self.data_dir / "ranges").resolve()

    @property
    def rate_limits(self) -> dict[str, RateLimit | None]:
        """The limit of each limited route; None where it is off."""
        return {
            "detect": parse_rate_limit(self.rate_limit_detect),
            "mask": parse_rate_limit(self.rate_limit_mask),
            "login": parse_rate_limit(self.rate_limit_login),
        }

    def model_source(self) -> ModelSource:
        """Where weights may come from, as absolute paths."""
        folders = tuple(folder.resolve() for folder in self.model_dirs)
        return ModelSource(self.model, folders, (self.data_dir / "models").resolve(), self.model_mirror)

    def scrfd_options(self) -> ScrfdOptions:
        """How to load the detector."""
        return ScrfdOptions(
            self.model_source(),
            (self.data_dir / "prepared").resolve(),
            self.provider,
            self.threads,
            self.precision,
            (self.ranges_dir,),
        )


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
            f"{_variable(problem['loc'])}: {problem['msg']}{_given(problem)}" for problem in error.errors()
        )
        raise SettingsError(problems) from error


def _given(problem: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    """What was given, unless it may be a secret."""
    is_secret = problem["loc"][0] in {"database_url", "admin_password"}
    return "" if is_secret else f" (got {problem['input']!r})"


def _variable(location: tuple[int | str, ...]) -> str:
    name = str(location[0])
    return name if name in {"PORT", "FACE_API_PORT"} else f"FACE_API_{name.upper()}"
