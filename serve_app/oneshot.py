"""`face-api detect` and `face-api mask`: the stages on files, in this process, without a server."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import track

from deployments.types import MaskMethod, MaskParams, MaskShape, OutputFormat
from models.errors import FaceError
from models.resolve import resolve_model
from models.scrfd import Scrfd
from models.types import Detail, DetectParams, Uncertain
from serve_app.schemas.choice import face_choice, parse_fill, parse_regions
from serve_app.schemas.detect import DetectQuery, detection_list
from serve_app.settings import Settings, load_settings

if TYPE_CHECKING:
    from deployments.pipeline import LocalPipeline

TIMEOUT_S = 300.0
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".heic", ".avif"})

Files = Annotated[list[Path], typer.Argument(help="Pictures, or folders of them.", exists=True)]
Confidence = Annotated[float, typer.Option(min=0.01, max=1.0)]
DetailOption = Annotated[Detail, typer.Option(help="How closely to look; docs/detail.md.")]
UncertainOption = Annotated[
    Uncertain, typer.Option(help="What becomes of faces from --mask-confidence to --confidence.")
]
MaskConfidence = Annotated[
    float | None, typer.Option(min=0.01, max=1.0, help="Unset: 0.2. Needs --uncertain.")
]


def detect_files(
    files: Files,
    confidence: Confidence = 0.5,
    nms_threshold: Confidence = 0.4,
    max_faces: Annotated[int, typer.Option(min=0)] = 0,
    detail: DetailOption = "fast",
    uncertain: UncertainOption = "ignore",
    mask_confidence: MaskConfidence = None,
) -> None:
    """Find faces: one JSON line for each picture on standard output. Exit code 1 if one failed."""
    params = _detect_params(confidence, nms_threshold, max_faces, detail, uncertain, mask_confidence)
    pipeline = _pipeline(load_settings())

    async def detect(path: Path) -> None:
        analysed = await pipeline.detect(path.read_bytes(), params, TIMEOUT_S)
        info, inferred = analysed.info, analysed.inferred
        line = {
            "file": str(path),
            "width": info.width,
            "height": info.height,
            "detections": detection_list(inferred.detections, info),
        }
        if inferred.uncertain is not None:
            line["uncertain"] = detection_list(inferred.uncertain, info)
        typer.echo(json.dumps(line))

    _for_each(list(pictures(files)), detect)


def mask_files(
    files: Files,
    output: Annotated[Path, typer.Option("-o", "--output", help="A file for one picture, else a folder.")],
    confidence: Confidence = 0.5,
    nms_threshold: Confidence = 0.4,
    max_faces: Annotated[int, typer.Option(min=0)] = 0,
    detail: DetailOption = "fast",
    uncertain: UncertainOption = "ignore",
    mask_confidence: MaskConfidence = None,
    method: MaskMethod = "gaussian",
    strength: Annotated[int, typer.Option(min=1, max=999)] = 199,
    padding: Annotated[float, typer.Option(min=0.0, max=1.0)] = 0.15,
    image_format: Annotated[OutputFormat, typer.Option("--format")] = "jpeg",
    quality: Annotated[int, typer.Option(min=1, max=100)] = 95,
    shape: Annotated[MaskShape | None, typer.Option(help="In place of the method's.")] = None,
    fill: Annotated[str | None, typer.Option(help="blur, pixelate, solid or color:#rrggbb.")] = None,
    has_floor: Annotated[
        bool,
        typer.Option("--strength-floor/--no-strength-floor", help="Raise a strength that hides nothing."),
    ] = True,
    min_face: Annotated[int, typer.Option(min=0, help="Smaller faces (pixels) stay as they are.")] = 0,
    regions: Annotated[str | None, typer.Option(help="Hide as well: [[x, y, width, height], ...].")] = None,
    skip: Annotated[str | None, typer.Option(help="Leave these faces: [index, ...], of one picture.")] = None,
    only: Annotated[str | None, typer.Option(help="Hide these faces only: [index, ...].")] = None,
    face_count: Annotated[
        int | None, typer.Option(min=0, help="With skip or only: faces found then.")
    ] = None,
) -> None:
    """Hide faces: writes one picture for each input. Exit code 1 if one failed."""
    params = _detect_params(confidence, nms_threshold, max_faces, detail, uncertain, mask_confidence)
    try:
        choice = face_choice(skip, only, face_count, min_face)
        masking = MaskParams(
            method,
            strength,
            padding,
            image_format,
            quality,
            shape,
            None if fill is None else parse_fill(fill),
            has_floor,
            () if regions is None else parse_regions(regions),
            choice,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    found = list(pictures(files))
    targets = targets_of(found, files, output, image_format)
    pipeline = _pipeline(load_settings())

    async def mask(path: Path) -> None:
        result = await pipeline.mask(path.read_bytes(), params, masking, TIMEOUT_S)
        target = targets[path]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(result.masked.data)

    _for_each(found, mask)


def _detect_params(
    confidence: float,
    nms_threshold: float,
    max_faces: int,
    detail: Detail,
    uncertain: Uncertain,
    mask_confidence: float | None,
) -> DetectParams:
    """The options as the pipeline takes them, under the rules of the API.

    Raises:
        typer.BadParameter: `mask_confidence` does not suit the others.
    """
    try:
        query = DetectQuery(
            confidence=confidence,
            nms_threshold=nms_threshold,
            max_faces=max_faces,
            detail=detail,
            uncertain=uncertain,
            **({} if mask_confidence is None else {"mask_confidence": mask_confidence}),
        )
    except ValidationError as error:
        raise typer.BadParameter(
            "; ".join(problem["msg"] for problem in error.errors()), param_hint="--mask-confidence"
        ) from error
    return query.detect_params()


def pictures(paths: Iterable[Path]) -> Iterable[Path]:
    """The files among `paths`, and the pictures (by suffix) in the folders among them, sorted."""
    for path in paths:
        if path.is_dir():
            yield from sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        else:
            yield path


def targets_of(found: list[Path], given: list[Path], output: Path, image_format: str) -> dict[Path, Path]:
    """Where each masked picture goes; never over an input, and no two to one file.

    Raises:
        typer.BadParameter: Two inputs would be written to the same file, or over an input.
    """
    suffix = ".jpg" if image_format == "jpeg" else f".{image_format}"
    if len(found) == 1 and not given[0].is_dir() and not output.is_dir() and output.suffix:
        targets = {found[0]: output}
    else:
        roots = {p: root for root in given if root.is_dir() for p in found if p.is_relative_to(root)}
        targets = {
            p: output / (p.relative_to(roots[p]) if p in roots else Path(p.name)).with_suffix(suffix)
            for p in found
        }
    if len(set(targets.values())) < len(targets):
        raise typer.BadParameter("two pictures would be written to the same file; mask them one by one")
    if {p.resolve() for p in targets.values()} & {p.resolve() for p in found}:
        raise typer.BadParameter("a result would overwrite its original; choose another --output")
    return targets


def _pipeline(settings: Settings) -> "LocalPipeline":
    from deployments.pipeline import LocalPipeline  # noqa: PLC0415 - imports ray, see launcher.py

    resolved = resolve_model(settings.model_source())
    for note in resolved.notes:
        Console(stderr=True).print(f"[bold yellow]{note}[/]")
    return LocalPipeline(Scrfd.load(settings.scrfd_options()), settings.max_image_pixels)


def _for_each(paths: list[Path], work: Callable[[Path], Awaitable[None]]) -> None:
    """Run `work` on each picture with a progress bar; one bad file does not stop the others."""
    console = Console(stderr=True)
    failed = 0

    async def run() -> None:
        nonlocal failed
        for path in track(paths, "pictures", console=console, transient=True, disable=len(paths) < 2):
            try:
                await work(path)
            except (FaceError, OSError) as error:
                failed += 1
                console.print(f"[red]{path}[/]: {error}", highlight=False, soft_wrap=True)

    if not paths:
        raise typer.BadParameter("no pictures there")
    asyncio.run(run())
    if failed:
        raise typer.Exit(1)
