"""`face-api redact SOURCE TARGET`."""

import os
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from importlib.util import find_spec
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from models.resolve import resolve_model
from serve_app.launcher import set_ray_switches
from serve_app.query_options import with_options_of
from serve_app.redact.errors import PlaceError, RedactionError
from serve_app.redact.places import parse_place, refuse_overlap
from serve_app.redact.records import Record, Redaction, parameters_of
from serve_app.schemas.batch import OF_ONE_PICTURE
from serve_app.schemas.mask import MaskQuery
from serve_app.settings import load_settings
from serve_app.storage_tier import storage_options

PLACE = "A folder, a .zip, or s3://bucket/prefix"


@with_options_of(MaskQuery, but=OF_ONE_PICTURE | {"store"})
def redact_collection(
    source: Annotated[str, typer.Argument(help=f"{PLACE}, with the originals.")],
    target: Annotated[str, typer.Argument(help=f"{PLACE}, for the masked pictures: empty, or begun before.")],
    address: Annotated[
        str | None, typer.Option(help="Of a Ray cluster; without, this machine's cores are used.")
    ] = None,
    gpus: Annotated[
        float | None, typer.Option(min=0.0, help="Share of a GPU for each worker.", show_default="0.25, or 0")
    ] = None,
    *,
    query: MaskQuery,
) -> None:
    """Mask every picture of a collection. Interrupted, the same command goes on where it was.

    Exit code 1: some pictures failed, or the run was given up. TARGET's manifest says what was done to each.
    """
    if find_spec("pyarrow") is None or find_spec("pandas") is None:
        raise RedactionError("redact needs Ray Data: pip install 'face-api[redact]'")
    if query.fill == "image":
        raise typer.BadParameter("--fill image is of /mask: choose blur, pixelate, solid or color:#rrggbb")
    try:
        places = parse_place(source), parse_place(target)
        refuse_overlap(*places)
    except PlaceError as error:
        raise typer.BadParameter(str(error)) from error
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its warnings are not for the operator
    if address is None:
        set_ray_switches()
    from serve_app.redact.cluster import Cluster  # noqa: PLC0415 - imports ray
    from serve_app.redact.run import redact  # noqa: PLC0415 - imports ray, through the stages
    from serve_app.redact.worker import Plan  # noqa: PLC0415 - as above

    settings, console = load_settings(), Console(stderr=True)
    resolved = resolve_model(settings.model_source())
    for note in resolved.notes:
        console.print(f"[bold yellow]{note}[/]")
    params, masking = query.detect_params(), replace(query.mask_params(), as_detect=True)
    plan = Plan(
        *places,
        storage_options(settings),
        params,
        masking,
        replace(
            settings.scrfd_options(),
            source=replace(settings.model_source(), setting=resolved.setting),
            threads=1,
        ),
        resolved.digest,
        settings.max_image_pixels,
        settings.max_upload_bytes,
    )
    model = {"name": resolved.name, "sha256": resolved.digest}
    redaction = Redaction(str(places[0]), parameters_of(params, masking), model)
    # Ray says on standard output which of its processes died.
    with Bar(console) as bar, redirect_stdout(sys.stderr), Cluster(plan, address, gpus) as cluster:
        totals = redact(plan, redaction, cluster, bar)
    typer.echo(
        f"{totals.masked} masked with {totals.faces} faces, {totals.skipped} skipped as no pictures, "
        f"{totals.failed} failed"
    )
    if totals.failed:
        raise typer.Exit(1)


class Bar:
    """Progress, and each failure as it happens, on standard error."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console, transient=True)
        self._task = self._progress.add_task("looking", total=None)

    def __enter__(self) -> "Bar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, total: int, left: int) -> None:
        """See Watch."""
        if left < total:
            self._console.print(f"{total - left} of {total} were done before", highlight=False)
        self._progress.update(self._task, description="files", total=total, completed=total - left)

    def note(self, record: Record) -> None:
        """See Watch."""
        self._progress.advance(self._task)
        if record.status == "failed":
            self._console.print(
                f"{record.source}: {record.reason}",
                style="red",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
