"""What has to be known of a film before its first frame is masked."""

import contextlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from deployments.decoding.exif import UPRIGHT, swaps_sides
from deployments.errors import ImageTooLargeError, VideoError

DEEP: Final = "yuv420p10le"
PLAIN: Final = "yuv420p"
"""What is worked on and written: 4:2:0 in 10 bits where the source has more than 8, which players take."""

FULL_RANGE: Final = 2  # AVCOL_RANGE_JPEG
LIMITED_RANGE: Final = 1  # AVCOL_RANGE_MPEG
FALLBACK_RATE: Final = Fraction(25)

_ORIENTATIONS: Final = {
    (1, 0, 0, 1): 1,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
}
"""EXIF's name for the signs of a, b, c, d of a display matrix: x' = ax + cy, y' = bx + dy (ISO 14496-12)."""


@dataclass(frozen=True, slots=True)
class Colours:
    """How numbers mean colours: codes of ITU-T H.273, passed on as they are (2: not said)."""

    matrix: int
    primaries: int
    transfer: int
    is_full_range: bool


@dataclass(frozen=True, slots=True)
class Film:
    """Facts of a file with moving pictures. Made by `probe`; read by the reader and the writer."""

    path: Path
    width: int  # upright, pixels
    height: int
    orientation: int  # of the stored frames, as EXIF counts: 1-8
    pixel_aspect: Fraction  # width of an upright pixel / its height
    pixel_format: str  # PLAIN or DEEP
    colours: Colours
    rate: Fraction  # frames/s, on average
    time_base: Fraction  # s
    start_s: Fraction  # what is taken off every timestamp: only a start after 0
    end_s: float | None  # as the header promises it, without start_s; None: it does not
    picture: int  # index of the stream that is masked
    sounds: tuple[int, ...]  # indices of the audio streams
    left_out: tuple[str, ...]  # kinds of the streams that are in no output


def probe(path: Path, max_pixels: int) -> Film:
    """Open a file and decode its first frame.

    Args:
        path: The file.
        max_pixels: Width x height that is accepted.

    Raises:
        VideoError: It is no video, or one that cannot be masked; says why.
        ImageTooLargeError: Its frames have more than `max_pixels`.
    """
    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            stream = picture_stream(container)
            _check_size(stream.width, stream.height, max_pixels)
            frame = _first_frame(container, stream)
            _check_size(frame.width, frame.height, max_pixels)
            return _film(path, container, stream, frame)
    except (av.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise VideoError(f"it cannot be read as a video: {reason}") from error


def picture_stream(container: InputContainer) -> VideoStream:
    """The moving picture of a file; a cover is none.

    Raises:
        VideoError: There is none, or none that can be decoded.
    """
    moving = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    best = container.streams.best("video")
    stream = best if best in moving else next(iter(moving), None)
    if stream is None:
        raise VideoError("there is no moving picture in it")
    if stream.codec_context is None:
        raise VideoError("its codec is unknown here")
    return stream


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageTooLargeError(f"frames of {width}x{height} are over the limit of {max_pixels} pixels")


def _first_frame(container: InputContainer, stream: VideoStream) -> VideoFrame:
    """The first that can be decoded: recordings may begin in the middle of a group of pictures."""
    for packet in container.demux(stream):
        with contextlib.suppress(av.FFmpegError):
            if frames := stream.decode(packet):
                return frames[0]
    raise VideoError("no frame of it can be decoded")


def _film(path: Path, container: InputContainer, stream: VideoStream, frame: VideoFrame) -> Film:
    orientation = orientation_of(frame)
    width, height = frame.width, frame.height
    aspect = stream.sample_aspect_ratio or Fraction(1)
    if swaps_sides(orientation):
        width, height, aspect = height, width, 1 / aspect
    start_s = max(Fraction(container.start_time or 0, av.time_base), Fraction(0))
    is_rgb = frame.format.is_rgb
    return Film(
        path=path,
        width=width,
        height=height,
        orientation=orientation,
        pixel_aspect=aspect if aspect > 0 else Fraction(1),
        pixel_format=DEEP if max(part.bits for part in frame.format.components) > 8 else PLAIN,
        colours=Colours(
            1 if is_rgb else frame.colorspace,
            frame.color_primaries,
            frame.color_trc,
            not is_rgb and (frame.color_range == FULL_RANGE or frame.format.name.startswith("yuvj")),
        ),
        rate=stream.average_rate or stream.guessed_rate or FALLBACK_RATE,
        time_base=stream.time_base or 1 / FALLBACK_RATE,
        start_s=start_s,
        end_s=None if container.duration is None else container.duration / av.time_base,
        picture=stream.index,
        sounds=tuple(sound.index for sound in container.streams.audio),
        left_out=tuple(_kind(s) for s in container.streams if s.index != stream.index and s.type != "audio"),
    )


def orientation_of(frame: VideoFrame) -> int:
    """1-8 as EXIF counts, from the display matrix players obey.

    Raises:
        VideoError: It turns by something else than quarters.
    """
    if "DISPLAYMATRIX" not in frame.side_data:
        return UPRIGHT
    side_data: Any = frame.side_data  # its types name one kind only
    a, b, _, c, d = np.frombuffer(bytes(side_data["DISPLAYMATRIX"]), np.int32)[:5]
    orientation = _ORIENTATIONS.get(tuple(int(np.sign(v)) for v in (a, b, c, d)))  # type: ignore[arg-type]
    if orientation is None:
        raise VideoError("it is turned by an odd angle; turn it by a multiple of 90 degrees first")
    return orientation


def _kind(stream: av.stream.Stream) -> str:
    if stream.disposition & av.stream.Disposition.attached_pic:
        return "cover"
    return stream.type
