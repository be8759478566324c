"""Writes the tables of the documentation that are made from the code: `make docs`."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import serve_app.metrics
from deployments.metrics import METRICS
from serve_app.settings import Settings

DOCS: Final = Path(__file__).parents[1] / "docs"


def metrics_table() -> str:
    """Every metric with its labels."""
    assert serve_app.metrics.REQUESTS.name in METRICS  # noqa: S101 - importing it listed them
    rows = []
    for name, metric in sorted(METRICS.items()):
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        rows.append(f"| `{name}` | {metric.kind} | {labels} | {metric.text} |")
    return "\n".join(["| metric | kind | labels | meaning |", "|---|---|---|---|", *rows])


def configuration_table() -> str:
    """Every setting with its default."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        text = (field.description or "").replace("|", "\\|")
        rows.append(f"| `FACE_API_{name.upper()}` | `{name}` | {_shown(default)} | {text} |")
    return "\n".join(["| variable | in `args` | default | meaning |", "|---|---|---|---|", *rows])


def _shown(default: object) -> str:
    if default is None or default == ():
        return "unset"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, tuple):
        return f"`{os.pathsep.join(map(str, default))}`"
    return f"`{default}`"


TABLES: Final[dict[str, Callable[[], str]]] = {
    "metrics": metrics_table,
    "configuration": configuration_table,
}
"""What stands between `<!-- NAME -->` and `<!-- end -->` in docs/NAME.md."""


def with_table(text: str, name: str) -> str:
    """A page with its table made anew.

    Raises:
        ValueError: It has no place for that table.
    """
    before, begin, rest = text.partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition("<!-- end -->")
    if not begin or not end:
        raise ValueError(f"no <!-- {name} --> ... <!-- end --> in docs/{name}.md")
    return f"{before}{begin}\n{TABLES[name]()}\n\n{end}{after}"


def main() -> None:
    """Write every page anew."""
    for name in TABLES:
        page = DOCS / f"{name}.md"
        page.write_text(with_table(page.read_text(), name))


if __name__ == "__main__":
    main()
