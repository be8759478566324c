"""`face-api models judge`: what a method and a strength are worth, on pictures of one's own."""

from collections.abc import Iterable
from itertools import pairwise, product
from pathlib import Path
from typing import Annotated, Final, Literal, get_args

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from deployments.decoding.decode import decode
from deployments.transparency import flatten
from deployments.types import MaskMethod, MaskParams, MaskShape
from models.errors import FaceError
from models.recogniser import Recogniser
from models.scrfd import Scrfd
from models.types import UInt8Array
from serve_app.judge.judge import SIZES, Judge, Verdict
from serve_app.oneshot import pictures
from serve_app.schemas.choice import parse_fill
from serve_app.settings import load_settings

METHODS: Final[tuple[MaskMethod, ...]] = get_args(MaskMethod)


class JudgementError(FaceError):
    """There is nothing to judge; the message says what to change."""


def judge(
    data: Annotated[list[Path], typer.Option(help="Pictures with faces, or folders of them.", exists=True)],
    recogniser: Annotated[
        Path, typer.Option(help="ONNX face recogniser: 1x3x112x112 in, a vector out.", exists=True)
    ],
    method: Annotated[list[str] | None, typer.Option(help="May be given again. Unset: all.")] = None,
    strength: Annotated[list[int] | None, typer.Option(min=1, max=999, help="May be given again.")] = None,
    padding: Annotated[float, typer.Option(min=0.0, max=1.0)] = 0.15,
    shape: Annotated[MaskShape | None, typer.Option(help="In place of the method's.")] = None,
    fill: Annotated[str | None, typer.Option(help="blur, pixelate, solid or color:#rrggbb.")] = None,
    strength_floor: Annotated[
        Literal["on", "off"], typer.Option(help="Whether a strength that hides too little is raised.")
    ] = "on",
    model: Annotated[str | None, typer.Option(help="Detector. Unset: FACE_API_MODEL.")] = None,
) -> None:
    """Measure how well masked faces are hidden: from a recogniser, from deblurring, from the detector."""
    settings = load_settings(**({} if model is None else {"model": model}))
    scrfd = Scrfd.load(settings.scrfd_options())
    if not scrfd.supports_landmarks:
        raise JudgementError(
            f"{scrfd.name} finds no landmarks, which the recogniser needs; name another --model"
        )
    filled = None if fill is None else parse_fill(fill)
    if filled == "image":
        raise typer.BadParameter("a picture over a face leaves nothing to judge; choose another fill")
    ways = [
        MaskParams(one, size, padding, shape=shape, fill=filled, has_floor=strength_floor == "on")
        for one, size in product(_methods(method), strength or [MaskParams().strength])
    ]
    judging = Judge(scrfd, Recogniser(recogniser, settings.threads or 1), ways)
    for pixels in _pictures(data, settings.max_image_pixels):
        judging.add(pixels)
    if not judging.faces:
        raise JudgementError(f"no face of {SIZES[0]} pixels or more was found in these pictures")
    Console().print(_table(judging.verdicts()))
    counts = f"{judging.faces} faces, so 1 of {judging.faces} would be known by chance"
    typer.echo(f"{counts}; {recogniser.name}, {scrfd.name} ({scrfd.provider})")


def _methods(names: list[str] | None) -> list[MaskMethod]:
    if unknown := set(names or ()) - set(METHODS):
        raise typer.BadParameter(f"method {unknown.pop()} is unknown; choose {', '.join(METHODS)}")
    return [one for one in METHODS if names is None or one in names]


def _pictures(data: list[Path], max_pixels: int) -> Iterable[UInt8Array]:
    console = Console(stderr=True)
    for path in track(list(pictures(data)), "pictures", console=console, transient=True):
        try:
            decoded = decode(path.read_bytes(), max_pixels=max_pixels, keep_picture=True)
        except (FaceError, OSError) as error:
            console.print(f"[red]{path}[/]: {error}", highlight=False, soft_wrap=True)
            continue
        if decoded.picture is not None:
            yield flatten(decoded.picture.pixels)


def _table(verdicts: Iterable[Verdict]) -> Table:
    sizes = [*(f"{low}-{high - 1}" for low, high in pairwise(SIZES)), f"{SIZES[-1]}+"]
    columns = [f"known {size} px" for size in sizes]
    table = Table(
        "method", "strength", "known again", *columns, "known restored", "found", "PSNR", "restored"
    )
    for verdict in verdicts:
        by_size = [_share(verdict.known[verdict.of_size(index)]) for index in range(len(SIZES))]
        table.add_row(
            verdict.params.method,
            str(verdict.params.strength),
            _share(verdict.known),
            *by_size,
            _share(verdict.known_restored),
            _share(verdict.found),
            f"{verdict.psnr_masked.mean():.1f}",
            f"{verdict.psnr_restored.mean():.1f}",
        )
    return table


def _share(which: "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]") -> str:
    return f"{which.mean():.3f}" if len(which) else "-"
