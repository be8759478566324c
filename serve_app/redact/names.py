"""What the masked picture of a source is called."""

from typing import Final

from deployments.types import OutputFormat
from serve_app.batch.archive import leads_out
from serve_app.storage.names import EXTENSIONS

HEADER: Final = "redaction.json"
"""What marks a target as ours."""
LINES: Final = "manifest.jsonl"
"""What was done to each source, in a folder or a zip."""


def output_name(source: str, image_format: OutputFormat) -> str:
    """The source's own name, with the format's extension behind it where it has none.

    Two sources have different outputs, unless one is called like the other with the extension behind it.

    Args:
        source: Relative, with slashes between folders.
        image_format: Of the output.
    """
    extensions = EXTENSIONS[image_format]
    has_extension = source.rpartition(".")[2].lower() in extensions
    return source if has_extension else f"{source}.{extensions[0]}"


def is_usable(source: str) -> bool:
    """Whether a name is a plain relative path: nothing is written anywhere else."""
    segments = source.split("/")
    return not leads_out(source) and "\0" not in source and not {"", "."} & set(segments)
