"""Bodies of the admin API."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StringConstraints,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from serve_app.repositories.api_keys import ApiKey, KeyTotals

MOST_NAME_CHARACTERS = 100

_CONTROL = r"\u0000-\u001F\u007F-\u009F"

Name = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        max_length=MOST_NAME_CHARACTERS,
        pattern=rf"^[^{_CONTROL}]*[^\s{_CONTROL}][^{_CONTROL}]*$",
    ),
]


class LoginRequest(BaseModel):
    """Who logs in."""

    username: Annotated[str, Field(max_length=256)]
    password: Annotated[str, Field(max_length=1024)]


class SessionResponse(BaseModel):
    """Who is logged in."""

    authenticated: bool
    username: str


class ApiKeyCreate(BaseModel):
    """A key to be made."""

    model_config = ConfigDict(extra="forbid")

    name: Name


class ApiKeyUpdate(BaseModel):
    """What to change of a key; at least one of them."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"minProperties": 1})

    name: Name | SkipJsonSchema[None] = None
    is_active: StrictBool | SkipJsonSchema[None] = None

    @model_validator(mode="after")
    def _changes_something(self) -> "ApiKeyUpdate":
        changes = self.changes()
        if not changes or None in changes.values():
            raise ValueError("give `name` or `is_active`, and not as null")
        return self

    def changes(self) -> dict[str, str | bool]:
        """The columns to set."""
        return self.model_dump(exclude_unset=True)


class ApiKeyResponse(BaseModel):
    """A key, without what would let anybody use it."""

    id: UUID
    name: str
    key_prefix: str
    key_suffix: str
    key_preview: str
    is_active: bool
    request_count: int
    last_used_at: datetime | None
    created_at: datetime


class ApiKeyCreatedResponse(ApiKeyResponse):
    """A new key; the only answer that shows it whole."""

    key: str


class UsageResponse(BaseModel):
    """All keys together; requests of deleted keys are not counted."""

    keys: int
    active_keys: int
    requests: int
    last_used_at: datetime | None


def usage_response(totals: KeyTotals) -> UsageResponse:
    """Totals as the API shows them."""
    return UsageResponse(**{name: getattr(totals, name) for name in KeyTotals.__slots__})


def api_key_response(key: ApiKey) -> ApiKeyResponse:
    """A row as the API shows it."""
    return ApiKeyResponse(**_fields(key))


def api_key_created(key: ApiKey, whole: str) -> ApiKeyCreatedResponse:
    """A new row and the key itself."""
    return ApiKeyCreatedResponse(**_fields(key), key=whole)


def _fields(key: ApiKey) -> dict[str, object]:
    fields = {name: getattr(key, name) for name in ApiKey.__slots__}
    return {**fields, "key_preview": f"{key.key_prefix}...{key.key_suffix}"}
