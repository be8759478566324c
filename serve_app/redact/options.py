"""The options of a command that masks: those of /mask, under the same names, with the same bounds."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any, Final

import typer
from pydantic import ValidationError
from rich.markup import escape

from serve_app.json_body import problems
from serve_app.schemas.batch import OF_ONE_PICTURE
from serve_app.schemas.mask import MaskQuery

OF_ONE_REQUEST: Final = OF_ONE_PICTURE | {"store"}
"""Parameters that say nothing of how pictures are masked."""


def with_mask_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option for each parameter of /mask, given to it as its `query`.

    Args:
        command: Its last parameter is `query: MaskQuery`.
    """
    signature = inspect.signature(command)
    fields = {name: field for name, field in MaskQuery.model_fields.items() if name not in OF_ONE_REQUEST}
    options = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=Annotated[field.annotation, typer.Option(help=escape(field.description or ""))],
        )
        for name, field in fields.items()
    ]
    own = [parameter for name, parameter in signature.parameters.items() if name != "query"]

    def run(**given: Any) -> None:  # noqa: ANN401 - what typer read
        values = {name: given.pop(name) for name in fields}
        try:
            query = MaskQuery(
                **{name: value for name, value in values.items() if value != fields[name].default}
            )
        except ValidationError as error:
            raise typer.BadParameter(problems(error)) from error
        command(**given, query=query)

    run.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined] # Python's own protocol
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *options)}
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return run
