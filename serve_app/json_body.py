"""JSON request bodies: bounded, and every mistake in them is a 422 that names it."""

from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from serve_app.body import BodyStream, BodyTooLargeError, MalformedBodyError, UnsupportedBodyError

MOST_BYTES: Final = 64 * 1024
M = TypeVar("M", bound=BaseModel)


def json_body(model: type[M]) -> Callable[[Request], Coroutine[Any, Any, M]]:
    """A dependency that reads the body as `model`.

    FastAPI's own reading has no bound, and fails without a status on JSON nested too deeply.
    """

    async def read(request: Request) -> M:
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/json":
            raise UnsupportedBodyError(
                f"Content-Type {content_type!r} is not accepted; send application/json"
            )
        body, data = BodyStream(request.receive), bytearray()
        while not body.ended:
            data += await body.next()
            if len(data) > MOST_BYTES:
                raise BodyTooLargeError(f"the body is larger than {MOST_BYTES} bytes")
        try:
            return model.model_validate_json(data)
        except ValidationError as error:
            raise MalformedBodyError(problems(error)) from error

    return read


def problems(error: ValidationError) -> str:
    """What is wrong, field by field."""
    return "; ".join(
        f"{'.'.join(str(part) for part in problem['loc']) or 'body'}: {problem['msg']}"
        for problem in error.errors()
    )


def json_docs(model: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """The request body for `openapi_extra`."""
    content = {"schema": model.model_json_schema(), "example": example}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}
