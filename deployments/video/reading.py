"""From a file to upright frames with their canvases, and the packets of its sound, in the file's order."""

from collections.abc import Generator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import av
import numpy as np
import numpy.typing as npt
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from deployments.decoding.exif import swaps_sides, upright
from deployments.decoding.letterbox import fit
from deployments.errors import VideoError
from deployments.video.film import (
    DEEP,
    FULL_RANGE,
    LIMITED_RANGE,
    PLAIN,
    Film,
    orientation_of,
    picture_stream,
)
from deployments.video.hdr import PQ, as_sdr
from models.types import Canvas, UInt8Array

Plane = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

AS_IS: Final = {PLAIN: PLAIN, "yuvj420p": PLAIN, DEEP: DEEP}
"""Formats whose planes are copied; all others are converted."""
PRIMING_S: Final = 0.25
"""What is heard of the sound before the film's start: codecs need it to begin with, it is not played."""
SHORTFALL_S: Final = 1.0
"""A file that ends so much before the end its header promises was cut off."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, upright, with even sides: where they were odd, the last column or row is repeated."""

    image: VideoFrame  # PLAIN or DEEP, its planes may be written to
    canvas: Canvas
    at_s: float  # from the film's start


@dataclass(frozen=True, slots=True)
class Sound:
    """A packet of it, as it is in the file but for its timestamps."""

    packet: "Packet[Any]"


@dataclass(frozen=True, slots=True)
class Damage:
    """The last item of a film that is not whole."""

    reason: str


Item = Frame | Sound | Damage


def read(film: Film, *, sound: bool) -> Generator[Item]:
    """Every frame and every packet of sound of a file, timestamps from the film's start.

    A packet that cannot be decoded is left out, and what follows where a file was cut off is missing; a
    `Damage` at the end tells of both.

    Raises:
        VideoError: Frames change their size or orientation.
    """
    frames = _Frames(film)
    broken, end_s, reason = 0, 0.0, ""
    with av.open(str(film.path), metadata_errors="ignore") as container:
        picture = picture_stream(container)
        picture.codec_context.thread_type = av.codec.context.ThreadType.AUTO
        try:
            for packet in container.demux():
                end_s = max(end_s, _end_s(packet))
                if packet.stream.index != film.picture:
                    is_heard = packet.pts is not None and packet.pts * packet.time_base >= -PRIMING_S
                    if sound and is_heard and packet.stream.index in film.sounds:
                        yield Sound(_from_start(packet, film.start_s))
                    continue
                broken += packet.is_corrupt
                try:
                    decoded = picture.decode(packet)
                except av.FFmpegError:
                    broken += 1
                    continue
                for frame in decoded:
                    yield frames.upright(frame)
        except (av.FFmpegError, OSError) as error:
            reason = f"reading ends with an error: {getattr(error, 'strerror', None) or error}"
    if not reason and film.end_s is not None and end_s - float(film.start_s) + SHORTFALL_S < film.end_s:
        reason = f"it ends after {end_s - float(film.start_s):.1f} s, its header promises {film.end_s:.1f} s"
    if not reason and broken:
        reason = f"{broken} of its packets are damaged"
    if reason:
        yield Damage(reason)


class _Frames:
    """Turns decoded frames into upright ones; keeps what conversions need."""

    def __init__(self, film: Film) -> None:
        self._film = film
        self._to_planes = VideoReformatter()
        self._to_canvas = VideoReformatter()
        self._last: int | None = None

    def upright(self, frame: VideoFrame) -> Frame:
        film = self._film
        stored = (frame.height, frame.width) if swaps_sides(film.orientation) else (frame.width, frame.height)
        if stored != (film.width, film.height) or orientation_of(frame) != film.orientation:
            raise VideoError("its picture changes size or orientation on the way; cut it there first")
        image = VideoFrame(film.width + film.width % 2, film.height + film.height % 2, film.pixel_format)
        for source, target in zip(planes(self._convertible(frame)), planes(image), strict=True):
            _fill(target, upright(source, film.orientation))  # type: ignore[arg-type]
        image.pts = pts = self._pts(frame)
        image.duration = frame.duration
        image.time_base = film.time_base
        image.colorspace = film.colours.matrix
        image.color_trc = film.colours.transfer
        image.color_range = FULL_RANGE if film.colours.is_full_range else LIMITED_RANGE
        return Frame(image, self._canvas(frame), float(pts * film.time_base))

    def _pts(self, frame: VideoFrame) -> int:
        """Ticks from the film's start, always rising: encoders take no other."""
        film = self._film
        given = frame.pts if frame.pts is not None else frame.dts
        step = max(1, round(1 / (film.rate * film.time_base)))
        if given is None:
            pts = 0 if self._last is None else self._last + step
        else:
            pts = given - round(film.start_s / film.time_base)
        self._last = pts if self._last is None else max(pts, self._last + 1)
        return self._last

    def _convertible(self, frame: VideoFrame) -> VideoFrame:
        """The frame with planes of the film's format."""
        film = self._film
        if AS_IS.get(frame.format.name) == film.pixel_format:
            return frame
        full = ColorRange.JPEG if film.colours.is_full_range else ColorRange.MPEG
        is_rgb = frame.format.is_rgb
        return self._to_planes.reformat(
            frame,
            format=film.pixel_format,
            dst_colorspace=Colorspace.ITU709 if is_rgb else None,
            src_color_range=None if is_rgb else full,
            dst_color_range=full,
            interpolation=Interpolation.BICUBIC,
            threads=1,
        )

    def _canvas(self, frame: VideoFrame) -> Canvas:
        """The detector's view: upright, in the shape in which it is shown."""
        film = self._film
        width, height, scale = fit(max(1, round(film.width * film.pixel_aspect)), film.height)
        size = (height, width) if swaps_sides(film.orientation) else (width, height)
        small = self._to_canvas.reformat(
            frame, *size, format="rgb24", interpolation=Interpolation.BILINEAR, threads=1
        )
        (plane,) = small.planes
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(small.height, plane.line_size)
        pixels: UInt8Array = rows[:, : 3 * small.width].reshape(small.height, small.width, 3)
        if film.colours.transfer == PQ:
            pixels = as_sdr(pixels)
        return Canvas(upright(pixels, film.orientation), film.width, film.height, scale)


def planes(image: VideoFrame) -> list[Plane]:
    """(h, w) luma and two (h/2, w/2) chroma planes of a 4:2:0 frame, to read or, if it is ours, to write."""
    kind: Any = np.uint16 if image.format.name == DEEP else np.uint8
    views: list[Plane] = []
    for plane in image.planes:
        row = np.frombuffer(memoryview(plane), kind).reshape(plane.height, -1)
        views.append(row[:, : plane.width])
    return views


def _fill(target: Plane, source: Plane) -> None:
    """Copy; where the target is larger by one, repeat the last column and row."""
    height, width = source.shape
    target[:height, :width] = source
    target[height:, :width] = target[height - 1, :width]
    target[:, width:] = target[:, width - 1 : width]


def _end_s(packet: "Packet[Any]") -> float:
    """When what is in a packet has been shown, by the file's clock."""
    if packet.pts is None:
        return 0.0
    return float((packet.pts + (packet.duration or 0)) * packet.time_base)


def _from_start(packet: "Packet[Any]", start_s: Fraction) -> "Packet[Any]":
    """The packet, with timestamps from the film's start."""
    offset = round(start_s / packet.time_base)
    packet.pts = None if packet.pts is None else packet.pts - offset
    packet.dts = None if packet.dts is None else packet.dts - offset
    return packet
