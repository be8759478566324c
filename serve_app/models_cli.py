"""`face-api models`: list, fetch, verify, prepare, calibrate, evaluate and train weights; judge masks."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, track
from rich.table import Table

from deployments.decoding.decode import decode
from models.activation_ranges import find_ranges
from models.calibrate import Calibrator
from models.errors import FaceError, ModelDigestError, RangesError
from models.evaluation import LEVELS
from models.fetch import fetch_weights, find_weights, sha256_of
from models.graph import prepare
from models.manifest import MODELS, OWN_LICENCE, OWN_MODEL, OWN_WEIGHTS, ModelSpec
from models.quantise import quantise
from models.resolve import resolve_model
from models.scrfd import Scrfd
from models.types import Detail
from serve_app.evaluate import evaluate_detector
from serve_app.judge.command import judge
from serve_app.oneshot import pictures
from serve_app.settings import Settings, load_settings
from serve_app.train_cli import train

models_app = typer.Typer(no_args_is_help=True, help="Weights: what there is, what is here, what it is worth.")

models_app.command()(train)
models_app.command()(judge)
Name = Annotated[str, typer.Argument(help=f"One of {', '.join(MODELS)}.")]
AnyName = Annotated[str, typer.Argument(help=f"One of {', '.join((*MODELS, OWN_MODEL))}, or an .onnx file.")]


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
    table.add_row(OWN_MODEL, "see its card, beside its weights", OWN_LICENCE, str(OWN_WEIGHTS))
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
def prepare_model(name: AnyName) -> None:
    """Make the batch-safe graph, and with ranges its INT8 form, now instead of at the first start."""
    settings = load_settings(model=name)
    model = resolve_model(settings.model_source())
    graph = prepare(model.path, settings.scrfd_options().prepared_dir, model.digest)
    typer.echo(graph)
    if ranges := find_ranges(graph, [settings.ranges_dir]):
        typer.echo(quantise(graph, ranges))


@models_app.command()
def calibrate(
    data: Annotated[
        Path, typer.Option(help="Folder of pictures, with its subfolders.", exists=True, file_okay=False)
    ],
    model: Annotated[
        str | None, typer.Option(help="A name, or an .onnx file. Unset: FACE_API_MODEL.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="So many pictures, spread evenly over the folder.")] = 200,
    out: Annotated[Path | None, typer.Option(help="Unset: FACE_API_DATA_DIR/ranges/MODEL.json.")] = None,
) -> None:
    """Measure activation ranges, so that OpenVINO can run the model in INT8."""
    settings = _settings(model=model)
    resolved = resolve_model(settings.model_source())
    graph = prepare(resolved.path, settings.scrfd_options().prepared_dir, resolved.digest)
    found = list(pictures([data]))
    if not found:
        raise RangesError(f"{data} holds no pictures (known by their suffix)")
    chosen = [found[index * len(found) // count] for index in range(count)] if count < len(found) else found
    calibrator, unreadable = Calibrator(graph, settings.threads or os.cpu_count() or 1), 0
    for path in track(chosen, resolved.name, console=Console(stderr=True), transient=True):
        try:
            decoded = decode(path.read_bytes(), max_pixels=settings.max_image_pixels, keep_picture=False)
        except (FaceError, OSError):
            unreadable += 1
        else:
            calibrator.add(decoded.canvas)
    ranges = calibrator.ranges(resolved.name)
    target = out or settings.ranges_dir / f"{resolved.name}.json"
    ranges.save(target)
    note = f", {unreadable} unreadable" if unreadable else ""
    typer.echo(f"{target}  ({len(ranges.by_signature)} ranges of {ranges.pictures} pictures{note})")


@models_app.command()
def evaluate(
    dataset: Annotated[
        Path, typer.Option(help="Folder with images/ and ground_truth.json.", exists=True, file_okay=False)
    ],
    model: Annotated[str | None, typer.Option(help="Unset: FACE_API_MODEL.")] = None,
    provider: Annotated[str | None, typer.Option(help="Unset: FACE_API_PROVIDER.")] = None,
    precision: Annotated[str | None, typer.Option(help="Unset: FACE_API_PRECISION.")] = None,
    detail: Annotated[Detail, typer.Option(help="How closely to look; docs/detail.md.")] = "fast",
) -> None:
    """WIDER FACE AP (easy/medium/hard, official protocol) and pictures per second, decoding included."""
    settings = _settings(model=model, provider=provider, precision=precision)
    scrfd = Scrfd.load(settings.scrfd_options())
    result = evaluate_detector(scrfd, dataset, settings.max_image_pixels, detail)
    figures = "  ".join(f"{level} {result.ap[level]:.4f}" for level in LEVELS)
    rate = f"{result.pictures_per_s:.1f} images/s  ({result.pictures} images, {scrfd.provider})"
    typer.echo(f"{scrfd.name}  detail={detail}  {figures}  {rate}")


def _settings(**given: str | None) -> Settings:
    return load_settings(**{name: value for name, value in given.items() if value is not None})


def _spec(name: str) -> ModelSpec:
    if name not in MODELS:
        raise typer.BadParameter(f"{name} is unknown; choose {', '.join(MODELS)}")
    return MODELS[name]
