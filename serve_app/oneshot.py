"""`face-api detect` and `face-api mask`: the stages on files, in this process, without a server."""

import asyncio
import json
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from deployments.decoding.decode import decode
from deployments.masking.fill import MOST_PIXELS, with_patch
from deployments.types import MaskFill, MaskMethod, MaskParams, MaskShape, OutputFormat
from models.errors import FaceError
from models.resolve import resolve_model
from models.scrfd import Scrfd
from models.types import Detail, DetectParams, Uncertain
from serve_app.films import Films, film_target, is_film
from serve_app.schemas.choice import face_choice, parse_fill, parse_regions
from serve_app.schemas.detect import DetectQuery, detection_list
from serve_app.settings import Settings, load_settings

if TYPE_CHECKING:
    from deployments.pipeline import LocalPipeline

TIMEOUT_S = 300.0
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".heic", ".avif"})

Files = Annotated[list[Path], typer.Argument(help="Pictures, or folders of them.", exists=True)]
Media = Annotated[list[Path], typer.Argument(help="Pictures, films, or folders of them.", exists=True)]
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
    settings = load_settings()
    pipeline = _pipeline(_detector(settings), settings)

    def detect(path: Path, _: Progress) -> None:
        analysed = runner.run(pipeline.detect(path.read_bytes(), params, TIMEOUT_S))
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

    with asyncio.Runner() as runner:
        _for_each(list(pictures(files)), detect)


def mask_files(
    files: Media,
    output: Annotated[Path, typer.Option("-o", "--output", help="A file for one input, else a folder.")],
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
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of pictures.")] = 95,
    crf: Annotated[int, typer.Option(min=0, max=51, help="Of films: less is better and larger.")] = 20,
    every: Annotated[int, typer.Option(min=1, max=30, help="Look at each N-th frame of films only.")] = 1,
    audio: Annotated[bool, typer.Option(help="Keep the sound of films.")] = True,
    shape: Annotated[MaskShape | None, typer.Option(help="In place of the method's.")] = None,
    fill: Annotated[str | None, typer.Option(help="blur, pixelate, solid, image or color:#rrggbb.")] = None,
    fill_image: Annotated[Path | None, typer.Option(help="Of --fill image.", exists=True)] = None,
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
    lossless: Annotated[
        bool, typer.Option("--lossless", help="JPEG to JPEG: encode only the blocks under masks anew.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Look at each masked picture again; hide harder what shows.")
    ] = False,
) -> None:
    """Hide faces: writes one picture or film for each input. Exit code 1 if one failed."""
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
            _fill(fill, fill_image),
            has_floor,
            () if regions is None else parse_regions(regions),
            choice,
            lossless=lossless,
            verify=verify,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    found = list(pictures(files, films_too=True))
    targets = targets_of(found, files, output, image_format)
    settings = load_settings()
    films = Films(every, crf, settings.max_image_pixels, sound=audio) if any(map(is_film, found)) else None
    scrfd = _detector(settings)
    pipeline = cache(lambda: _pipeline(scrfd, settings))  # not made for films alone

    def mask(path: Path, progress: Progress) -> None:
        target = targets[path]
        target.parent.mkdir(parents=True, exist_ok=True)
        if films is not None and is_film(path):
            films.mask(path, target, scrfd, params, masking, progress)
        else:
            result = runner.run(pipeline().mask(path.read_bytes(), params, masking, TIMEOUT_S))
            target.write_bytes(result.masked.data)

    with asyncio.Runner() as runner:
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


def _fill(fill: str | None, fill_image: Path | None) -> MaskFill | None:
    """What `--fill` says; its picture is decoded here once."""
    parsed = None if fill is None else parse_fill(fill)
    if parsed != "image":
        return parsed
    if fill_image is None:
        raise ValueError("--fill image needs a picture: --fill-image FILE")
    decoded = decode(fill_image.read_bytes(), max_pixels=MOST_PIXELS, keep_picture=True)
    return with_patch(MaskParams(), decoded.picture).fill


def pictures(paths: Iterable[Path], *, films_too: bool = False) -> Iterable[Path]:
    """The files among `paths`, and the pictures (by suffix) in the folders among them, sorted."""

    def is_wanted(path: Path) -> bool:
        return path.suffix.lower() in SUFFIXES or (films_too and is_film(path))

    for path in paths:
        if path.is_dir():
            yield from sorted(p for p in path.rglob("*") if is_wanted(p) and p.is_file())
        else:
            yield path


def targets_of(found: list[Path], given: list[Path], output: Path, image_format: str) -> dict[Path, Path]:
    """Where each masked picture or film goes; never over an input, and no two to one file.

    Raises:
        typer.BadParameter: Two inputs would be written to the same file, or over an input; or a film to what
            is no container.
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
    targets |= {
        p: film_target(p, target, is_named=target == output) for p, target in targets.items() if is_film(p)
    }
    if len(set(targets.values())) < len(targets):
        raise typer.BadParameter("two pictures would be written to the same file; mask them one by one")
    if {p.resolve() for p in targets.values()} & {p.resolve() for p in found}:
        raise typer.BadParameter("a result would overwrite its original; choose another --output")
    return targets


def _detector(settings: Settings) -> Scrfd:
    resolved = resolve_model(settings.model_source())
    for note in resolved.notes:
        Console(stderr=True).print(f"[bold yellow]{note}[/]")
    return Scrfd.load(settings.scrfd_options())


def _pipeline(scrfd: Scrfd, settings: Settings) -> "LocalPipeline":
    from deployments.pipeline import LocalPipeline  # noqa: PLC0415 - imports ray, see launcher.py

    return LocalPipeline(scrfd, settings.max_image_pixels)


def _for_each(paths: list[Path], work: Callable[[Path, Progress], None]) -> None:
    """Run `work` on each file with a progress bar; one bad file does not stop the others."""
    if not paths:
        raise typer.BadParameter("no pictures there")
    failed = 0
    with Progress(console=Console(stderr=True), transient=True) as progress:
        files = progress.add_task("files", total=len(paths), visible=len(paths) > 1)
        for path in paths:
            try:
                work(path, progress)
            except (FaceError, OSError) as error:
                failed += 1
                progress.console.print(
                    f"[red]{escape(str(path))}[/]: {escape(str(error))}", highlight=False, soft_wrap=True
                )
            progress.advance(files)
    if failed:
        raise typer.Exit(1)
