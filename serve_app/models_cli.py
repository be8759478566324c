"""`face-api models`: list, fetch, verify, prepare and evaluate weights."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, track
from rich.table import Table

from deployments.decoding.decode import decode
from models.errors import ModelDigestError
from models.evaluation import LEVELS, Predictions, average_precision, load_dataset
from models.fetch import fetch_weights, find_weights, sha256_of
from models.graph import prepare
from models.manifest import MODELS, ModelSpec
from models.resolve import resolve_model
from models.scrfd import Scrfd
from models.types import DetectParams
from serve_app.settings import load_settings

models_app = typer.Typer(no_args_is_help=True, help="Weights: what there is, what is here, what it is worth.")

EVALUATION = DetectParams(confidence=0.02, nms_threshold=0.4)  # as SCRFD is evaluated by its authors
Name = Annotated[str, typer.Argument(help=f"One of {', '.join(MODELS)}.")]


@models_app.command("list")
def list_models() -> None:
    """Every known model: accuracy, licence, and where its weights lie."""
    source = load_settings().model_source()
    table = Table("model", "WIDER FACE easy/medium/hard", "licence", "weights")
    for spec in MODELS.values():
        try:
            path = find_weights(spec, (*source.folders, source.download_dir))
            where = str(path) if path else f"not here: face-api models fetch {spec.name}"
        except ModelDigestError as error:
            where = str(error)
        table.add_row(spec.name, "/".join(f"{ap:.2f}" for ap in spec.wider_face_ap), spec.licence, where)
    Console().print(table)


@models_app.command()
def fetch(name: Name) -> None:
    """Download a model, going on where a broken download stopped, and check it."""
    spec, source = _spec(name), load_settings().model_source()
    typer.echo(f"{spec.name}: {spec.licence}", err=True)
    columns = (BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(spec.archive, total=None)
        path = fetch_weights(
            spec,
            source.download_dir,
            source.mirror,
            lambda had, total: bar.update(task, completed=had, total=total),
        )
    typer.echo(path)


@models_app.command()
def verify() -> None:
    """Check the digest of every weights file at hand; exit code 1 when one is wrong."""
    source = load_settings().model_source()
    wrong = 0
    for spec in MODELS.values():
        for folder in (*source.folders, source.download_dir):
            path = folder / spec.file_name
            if path.is_file():
                good = spec.accepts(sha256_of(path))
                wrong += not good
                typer.echo(f"{'ok   ' if good else 'WRONG'} {path}")
    if wrong:
        raise typer.Exit(1)


@models_app.command("prepare")
def prepare_model(name: Name) -> None:
    """Make the batch-safe graph now instead of at the first start."""
    settings = load_settings(model=name)
    model = resolve_model(settings.model_source())
    typer.echo(prepare(model.path, settings.scrfd_options().prepared_dir, model.digest))


@models_app.command()
def evaluate(
    dataset: Annotated[
        Path, typer.Option(help="Folder with images/ and ground_truth.json.", exists=True, file_okay=False)
    ],
    model: Annotated[str | None, typer.Option(help="Unset: FACE_API_MODEL.")] = None,
) -> None:
    """WIDER FACE AP (easy/medium/hard, official protocol) and pictures per second, decoding included."""
    settings = load_settings(**({"model": model} if model else {}))
    scrfd = Scrfd.load(settings.scrfd_options())
    images, predictions = load_dataset(dataset), []
    started = time.perf_counter()
    for image in track(images, scrfd.name, console=Console(stderr=True), transient=True):
        data = (dataset / "images" / image.file).read_bytes()
        decoded = decode(data, max_pixels=settings.max_image_pixels, keep_picture=False)
        found = scrfd.detect(decoded.canvas, EVALUATION)
        predictions.append(Predictions(found.boxes, found.scores))
    rate = len(images) / (time.perf_counter() - started)
    precision = average_precision(images, predictions)
    figures = "  ".join(f"{level} {precision[level]:.4f}" for level in LEVELS)
    typer.echo(f"{scrfd.name}  {figures}  {rate:.1f} images/s  ({len(images)} images, {scrfd.provider})")


def _spec(name: str) -> ModelSpec:
    if name not in MODELS:
        raise typer.BadParameter(f"{name} is unknown; choose {', '.join(MODELS)}")
    return MODELS[name]
