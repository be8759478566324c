"""Where objects lie, and who may reach them."""

from dataclasses import dataclass, field
from typing import Final

DEFAULT_LINK_TTL_S: Final = 900


@dataclass(frozen=True, slots=True)
class StorageOptions:
    """A bucket of an S3 server. Made from the settings or by EmbeddedS3; read by ObjectStore."""

    endpoint: str | None  # URL of the server; None is AWS
    public_endpoint: str | None  # URL of the same server as clients reach it
    region: str
    bucket: str
    access_key: str | None  # None: AWS's usual places
    secret_key: str | None = field(repr=False)
    link_ttl_s: int = DEFAULT_LINK_TTL_S
