"""The films of `face-api mask`."""

from importlib.util import find_spec
from pathlib import Path

import typer
from rich.progress import Progress

from deployments.errors import VideoError
from deployments.types import MaskParams
from deployments.video.formats import FORMATS, SUFFIXES
from models.scrfd import Scrfd
from models.types import DetectParams


def is_film(path: Path) -> bool:
    """Whether a file is one, by the end of its name."""
    return path.suffix.lower() in SUFFIXES


def film_target(source: Path, target: Path, *, is_named: bool) -> Path:
    """Where a masked film goes: its container if we write that, else Matroska, which holds any sound.

    Args:
        source: The film.
        target: Where a picture would go.
        is_named: Whether the caller named that file.

    Raises:
        typer.BadParameter: The named file cannot be a film.
    """
    if not is_named:
        return target.with_suffix(source.suffix if source.suffix.lower() in FORMATS else ".mkv")
    if target.suffix.lower() not in FORMATS:
        raise typer.BadParameter(f"films are written as {', '.join(FORMATS)}, not as {target.suffix}")
    return target


class Films:
    """Masks films with the options of one call of the command."""

    def __init__(self, every: int, crf: int, max_pixels: int, *, sound: bool) -> None:
        if find_spec("av") is None:
            raise VideoError("films need PyAV: .venv/bin/python -m pip install 'av>=18,<19'")
        from deployments.video.mask import VideoParams  # noqa: PLC0415 - only where it is installed

        self._video = VideoParams(every, crf, sound)
        self._max_pixels = max_pixels

    def mask(
        self,
        source: Path,
        target: Path,
        scrfd: Scrfd,
        params: DetectParams,
        masking: MaskParams,
        progress: Progress,
    ) -> None:
        """Mask one film, with a bar of its own.

        Raises:
            FaceError: It could not be done, or not to the end; says what is left.
        """
        from deployments.video.mask import mask_film  # noqa: PLC0415 - see above

        bar = progress.add_task(source.name, total=None)
        try:
            done = mask_film(
                source,
                target,
                scrfd,
                params,
                masking,
                self._video,
                self._max_pixels,
                lambda done_s, of_s: progress.update(bar, completed=done_s, total=of_s),
            )
        finally:
            progress.remove_task(bar)
        if done.left_out:
            kinds = ", ".join(done.left_out)
            progress.console.print(
                f"{source}: left out: {kinds}", highlight=False, markup=False, soft_wrap=True
            )
