"""The options of a command that detects or masks: the parameters of the API, same names, same bounds."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer
from pydantic import ValidationError
from rich.markup import escape

from serve_app.json_body import problems
from serve_app.schemas.detect import DetectQuery

Command = Callable[..., None]


def with_options_of(model: type[DetectQuery], *, but: frozenset[str]) -> Callable[[Command], Command]:
    """Gives a command an option for each parameter of a route, and them to it as its `query`.

    Args:
        model: The route's parameters. The command's last parameter is `query`, of this type.
        but: Parameters that the command does not have.
    """
    fields = {name: field for name, field in model.model_fields.items() if name not in but}
    types = get_type_hints(model)
    options = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=Annotated[types[name], typer.Option(help=escape(field.description or ""))],
        )
        for name, field in fields.items()
    ]

    def with_options(command: Command) -> Command:
        signature = inspect.signature(command)
        own = [parameter for name, parameter in signature.parameters.items() if name != "query"]

        first = inspect.Parameter(
            "context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
        )

        def run(context: typer.Context, **given: Any) -> None:  # noqa: ANN401 - what typer read
            values = {name: given.pop(name) for name in fields}
            try:
                # The model judges what was said: mask_confidence needs uncertain beside it.
                query = model(**{name: value for name, value in values.items() if _is_said(context, name)})
            except ValidationError as error:
                raise typer.BadParameter(problems(error)) from error
            command(**given, query=query)

        run.__signature__ = signature.replace(parameters=[first, *own, *options])  # type: ignore[attr-defined] # Python's own protocol
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in (first, *own, *options)}
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        return run

    return with_options


def _is_said(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"
