"""`face-api detect` and `face-api mask`: the stages on files, in this process, without a server."""

import asyncio
import json
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from deployments.decoding.decode import decode
from deployments.masking.fill import MOST_PIXELS, with_patch
from deployments.types import MaskParams
from models.errors import FaceError
from models.resolve import resolve_model
from models.scrfd import Scrfd
from serve_app.films import Films, film_target, is_film
from serve_app.query_options import with_options_of
from serve_app.schemas.detect import DetectQuery, detection_list
from serve_app.schemas.mask import MaskQuery
from serve_app.settings import Settings, load_settings

if TYPE_CHECKING:
    from deployments.pipeline import LocalPipeline

TIMEOUT_S = 300.0
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".heic", ".avif"})

Files = Annotated[list[Path], typer.Argument(help="Pictures, or folders of them.", exists=True)]
Media = Annotated[list[Path], typer.Argument(help="Pictures, films, or folders of them.", exists=True)]

ONLY_OF_REQUESTS: Final = frozenset({"store"})


@with_options_of(DetectQuery, but=ONLY_OF_REQUESTS)
def detect_files(files: Files, *, query: DetectQuery) -> None:
    """Find faces: one JSON line for each picture on standard output. Exit code 1 if one failed."""
    params, settings = query.detect_params(), load_settings()
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


@with_options_of(MaskQuery, but=ONLY_OF_REQUESTS)
def mask_files(
    files: Media,
    output: Annotated[Path, typer.Option("-o", "--output", help="A file for one input, else a folder.")],
    fill_image: Annotated[Path | None, typer.Option(help="Of --fill image.", exists=True)] = None,
    crf: Annotated[int, typer.Option(min=0, max=51, help="Of films: less is better and larger.")] = 20,
    every: Annotated[int, typer.Option(min=1, max=30, help="Look at each N-th frame of films only.")] = 1,
    audio: Annotated[bool, typer.Option(help="Keep the sound of films.")] = True,
    *,
    query: MaskQuery,
) -> None:
    """Hide faces: writes one picture or film for each input. Exit code 1 if one failed."""
    params, masking = query.detect_params(), query.mask_params()
    if query.fill == "image":
        masking = _with_patch(masking, fill_image)
    found = list(pictures(files, films_too=True))
    targets = targets_of(found, files, output, query.format)
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


def _with_patch(masking: MaskParams, file: Path | None) -> MaskParams:
    """The parameters with the picture of `--fill-image`, which is decoded here once.

    Raises:
        typer.BadParameter: There is none.
        DecodeError: It is no picture.
    """
    if file is None:
        raise typer.BadParameter("--fill image needs a picture: --fill-image FILE")
    decoded = decode(file.read_bytes(), max_pixels=MOST_PIXELS, keep_picture=True)
    return with_patch(masking, decoded.picture)


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
