"""A film in, the film with every face hidden in every frame out; or an error and no film."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import numpy as np

from deployments.errors import ChoiceError, VideoError
from deployments.masking.choice import check_regions
from deployments.types import EVERY_FACE, MaskParams
from deployments.video.ahead import ahead
from deployments.video.film import probe
from deployments.video.finding import Finder, Looked
from deployments.video.hiding import hide_faces
from deployments.video.reading import Damage, Frame, Sound, read
from deployments.video.tracks import Tracker
from deployments.video.writing import FilmWriter
from models.scrfd import Scrfd
from models.types import DetectParams, Float32Array

HOLD_S: Final = 0.5
"""How long a face is hidden before it is first found, after it is last found, and between."""
MOST_HELD: Final = 30
"""Frames that wait for later ones; with QUEUED twice, what bounds the memory."""
LEAST_HELD: Final = 3
QUEUED: Final = 4


@dataclass(frozen=True, slots=True)
class VideoParams:
    """What a film needs beside thresholds and effect."""

    every: int = 1  # which frames are looked at: each, each second, ...
    crf: int = 20  # 0-51, of the encoder: less is better and larger
    sound: bool = True


@dataclass(frozen=True, slots=True)
class MaskedFilm:
    """What was done."""

    frames: int
    masked: int  # frames in which something is hidden
    left_out: tuple[str, ...]  # kinds of the source's streams that are not in it


def mask_film(
    source: Path,
    target: Path,
    scrfd: Scrfd,
    params: DetectParams,
    masking: MaskParams,
    video: VideoParams,
    max_pixels: int,
    progress: Callable[[float, float | None], None] = lambda done_s, of_s: None,
) -> MaskedFilm:
    """Write `target`, whole or not at all.

    A film that is damaged or cut off is masked as far as it goes and written beside it, as
    `NAME.incomplete.END`.

    Args:
        source: The film.
        target: To be written or replaced; its end is one of `formats.FORMATS`.
        scrfd: The detector.
        params: What counts as a face.
        masking: How, and which regions of every frame as well.
        video: See there.
        max_pixels: Of a frame.
        progress: Called with the seconds that are written, and those that will be, if known.

    Raises:
        VideoError: It is no film, or a damaged one.
        InferenceError: The detector failed in a frame.
        MaskingError: A face could not be hidden.
        ChoiceError: Faces are to be left out, or a region lies outside the frames.
        UncertainFacesError: There are uncertain faces, and such films are not wanted.
        ImageTooLargeError: Its frames have more than `max_pixels`.
    """
    if masking.verify:
        raise ChoiceError("films are not looked at again: verify is for pictures")
    if masking.choice != EVERY_FACE:
        raise ChoiceError("in films every face is hidden; leaving out some is for pictures")
    if masking.lossless:
        raise ChoiceError("films are encoded anew; lossless is for JPEGs")
    film = probe(source, max_pixels)
    check_regions(masking.regions, film.width, film.height)
    hold = min(max(round(HOLD_S * film.rate), LEAST_HELD), MOST_HELD)
    tracker = Tracker(max(hold, 2 * video.every), video.every)
    reading = ahead(read(film, sound=video.sound), QUEUED)
    finding = ahead(Finder(scrfd, params, video.every).find(reading), QUEUED)
    reason = ""
    frames = masked = 0
    part = target.with_name(f".{target.stem}.{os.getpid()}.part{target.suffix}")
    with _removed(part), _explained():
        with FilmWriter(part, film, sound=video.sound, crf=video.crf) as writer, closing(finding):
            for item in tracked(finding, tracker):
                if isinstance(item, Damage):
                    reason = item.reason
                elif isinstance(item, Sound):
                    writer.copy(item.packet)
                else:
                    boxes = inside(item.boxes, film.width, film.height)
                    hide_faces(item.frame.image, film.colours, boxes, masking)
                    writer.write(item.frame.image)
                    frames += 1
                    masked += len(boxes) > 0
                    progress(item.frame.at_s, film.end_s)
        if not frames:
            raise VideoError("no frame of it can be decoded")
        part.replace(incomplete(target) if reason else target)
    if reason:
        raise VideoError(
            f"{reason}; its {frames} frames that can be read are masked in {incomplete(target).name}"
        )
    return MaskedFilm(frames, masked, film.left_out)


def incomplete(target: Path) -> Path:
    """Where a film goes that is not whole."""
    return target.with_name(f"{target.stem}.incomplete{target.suffix}")


def inside(boxes: Float32Array, width: int, height: int) -> Float32Array:
    """Those of (N, 4) boxes that reach into the frame: a face that left it may have moved on."""
    size = np.array([width, height], np.float32)
    return boxes[(boxes[:, 2:] > 0).all(axis=1) & (boxes[:, :2] < size).all(axis=1)]


@dataclass(frozen=True, slots=True)
class Tracked:
    """A frame, and what to hide in it."""

    frame: Frame
    boxes: Float32Array  # (N, 4) pixels


def tracked(items: Iterator[Looked | Sound | Damage], tracker: Tracker) -> Iterator[Tracked | Sound | Damage]:
    """Frames once their boxes are final; packets and damage as they come."""
    waiting: deque[Frame] = deque()
    for item in items:
        if isinstance(item, Looked):
            waiting.append(item.frame)
            boxes = tracker.add(item.sighted, is_cut=item.is_cut)
            if boxes is not None:
                yield Tracked(waiting.popleft(), boxes)
        else:
            yield item
    for frame, boxes in zip(waiting, tracker.end(), strict=True):
        yield Tracked(frame, boxes)


@contextmanager
def _explained() -> Iterator[None]:
    """Around what may fail in FFmpeg: the reader explains its own errors."""
    try:
        yield
    except av.FFmpegError as error:
        raise VideoError(f"the masked film cannot be written: {error.strerror or error}") from error


@contextmanager
def _removed(part: Path) -> Iterator[None]:
    """Around the making of a file that must not be left half-written."""
    try:
        yield
    finally:
        part.unlink(missing_ok=True)
