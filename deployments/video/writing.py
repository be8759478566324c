"""To a file: masked frames encoded, sound as it was, and nothing else of the source."""

import contextlib
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import av
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from deployments.errors import VideoError
from deployments.video.film import DEEP, FULL_RANGE, LIMITED_RANGE, Film
from deployments.video.formats import FORMATS
from deployments.video.sound import bare_header

PRESET: Final = "veryfast"
"""Of x264 and x265: three times as fast as their default for files of about the same size."""
H264: Final = {"a53cc": "0", "udu_sei": "0"}
"""No captions and no other data inside of frames, which x264's wrapper would pass on."""
HEVC: Final = {"x265-params": "log-level=error"}
"""x265 writes to the terminal past FFmpeg's log."""


class FilmWriter:
    """A film being written: H.264, or HEVC where the source has more than 8 bits a sample.

    Of the source come pixels, timestamps, what colours mean, the shape of pixels, and packets of sound. No
    tag, chapter, attachment, subtitle, or track of data.
    """

    def __init__(self, path: Path, film: Film, *, sound: bool, crf: int) -> None:
        """Open the file and write its header.

        Args:
            path: To be written; its end names the container.
            film: What is masked.
            sound: Whether packets of sound will follow.
            crf: Constant rate factor of the encoder, 0-51: less is better and larger.

        Raises:
            VideoError: The container cannot hold the film's sound.
        """
        self._pixel_format = film.pixel_format
        self._output = av.open(
            str(path), "w", format=FORMATS[path.suffix.lower()], container_options=_options(path)
        )
        self._last: dict[int, int] = {}  # dts of each stream of sound, in the source's time base
        try:
            self._picture = self._add_picture(film, crf)
            self._sounds = self._add_sounds(film) if sound else {}
            self._output.start_encoding()
        except BaseException:
            self._abandon()
            raise

    def __enter__(self) -> "FilmWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the file; after an error it is closed as it is."""
        if error is not None:
            self._abandon()
            return
        self._output.mux(self._picture.encode(None))
        self._output.close()

    def write(self, image: VideoFrame) -> None:
        """One more masked frame, later than the ones before."""
        self._output.mux(self._picture.encode(image))

    def copy(self, packet: "Packet[Any]") -> None:
        """A packet of sound, as it is; only a time that falls, which no container takes, is mended."""
        stream = packet.stream = self._sounds[packet.stream_index]
        dts = packet.pts if packet.dts is None else packet.dts
        if dts is not None:
            packet.dts = self._last[stream.index] = max(dts, self._last.get(stream.index, dts))
            packet.pts = packet.dts if packet.pts is None else max(packet.pts, packet.dts)
        self._output.mux(packet)

    def _add_picture(self, film: Film, crf: int) -> VideoStream:
        is_deep = film.pixel_format == DEEP
        stream: VideoStream = self._output.add_stream(
            "libx265" if is_deep else "libx264",
            rate=film.rate,
            options={"crf": str(crf), "preset": PRESET, **(HEVC if is_deep else H264)},
            width=film.width + film.width % 2,
            height=film.height + film.height % 2,
            time_base=film.time_base,
        )
        context = stream.codec_context
        context.pix_fmt = film.pixel_format
        context.sample_aspect_ratio = film.pixel_aspect
        context.colorspace = film.colours.matrix
        context.color_primaries = film.colours.primaries
        context.color_trc = film.colours.transfer
        context.color_range = FULL_RANGE if film.colours.is_full_range else LIMITED_RANGE
        if is_deep:
            context.codec_tag = "hvc1"  # the only one Apple's players take
        return stream

    def _add_sounds(self, film: Film) -> dict[int, Stream]:
        """Streams of sound by their index in the source."""
        with av.open(str(film.path), metadata_errors="ignore") as source:
            return {index: self._add_sound(source.streams[index]) for index in film.sounds}

    def _add_sound(self, template: Stream) -> Stream:
        codec = template.codec_context.name if template.codec_context else "unknown"
        try:
            stream = self._output.add_stream_from_template(template)
        except ValueError as error:
            container = self._output.format.name
            instead = "" if container == "matroska" else "write a .mkv file, or "
            raise VideoError(
                f"{container} cannot hold its sound ({codec}) as it is; {instead}leave it out with --no-audio"
            ) from error
        if header := stream.codec_context.extradata:
            stream.codec_context.extradata = bare_header(codec, header)
        return stream

    def _abandon(self) -> None:
        with contextlib.suppress(Exception):
            self._output.close()


def _options(path: Path) -> dict[str, str]:
    """No name of the software in the file; an index at its start, so that it plays while it is loaded."""
    is_mkv = FORMATS[path.suffix.lower()] == "matroska"
    return {"fflags": "+bitexact", **({} if is_mkv else {"movflags": "+faststart"})}
