"""The envelope of every failing response, for the OpenAPI document."""

from pydantic import BaseModel


class ErrorResponse(BaseModel):
    """Why a request failed."""

    detail: str
