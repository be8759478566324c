"""Small films for tests: frames given as pictures, a tone beside them."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

RATE = 25
SOUND_RATE = 48000


def write_clip(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    *,
    pts: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, RATE),
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    sound: str | None = "aac",
    sound_s: float = 1.0,
    tags: dict[str, str] | None = None,
    rotation: int = 0,
    options: dict[str, str] | None = None,
    colours: dict[str, int] | None = None,
) -> Path:
    """A film of (h, w, 3) RGB frames, nearly lossless."""
    pictures = list(frames)
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w", options=options or {}) as out:
        out.metadata.update(tags or {})
        stream: Any = out.add_stream(codec, rate=RATE, width=width, height=height, time_base=time_base)
        stream.pix_fmt = pixel_format
        stream.metadata.update(tags or {})
        if codec in ("libx264", "libx265"):
            stream.options = {"crf": "10", "preset": "ultrafast"}
        for name, value in (colours or {}).items():
            setattr(stream.codec_context, name, value)
        if rotation:
            stream.set_display_rotation(rotation)
        tone = _add_tone(out, sound, tags) if sound else None
        out.start_encoding()
        if tone is not None:
            _write_tone(out, tone, sound_s)
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format=pixel_format)
            frame.pts = index if pts is None else pts[index]
            frame.time_base = time_base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def decoded(path: Path) -> list[NDArray[np.uint8]]:
    """Frames of a film as (h, w, 3) RGB."""
    with av.open(str(path)) as film:
        return [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]  # type: ignore[misc]


def timestamps(path: Path) -> list[Fraction]:
    """When each frame is shown, seconds."""
    with av.open(str(path)) as film:
        return [frame.pts * frame.time_base for frame in film.decode(video=0)]


def sound_packets(path: Path) -> list[tuple[Fraction, bytes]]:
    """Timestamp and content of every packet of sound."""
    with av.open(str(path)) as film:
        packets = film.demux(audio=0)
        return [
            (packet.pts * packet.time_base, bytes(packet)) for packet in packets if packet.pts is not None
        ]


def _add_tone(out: Any, codec: str, tags: dict[str, str] | None) -> Any:
    tone = out.add_stream(codec, rate=SOUND_RATE, layout="mono", bit_rate=64000)
    tone.metadata.update(tags or {})
    return tone


def _write_tone(out: Any, tone: Any, seconds: float) -> None:
    rng = np.random.default_rng(0)
    samples = rng.uniform(-0.1, 0.1, (1, round(seconds * SOUND_RATE))).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
    frame.sample_rate = SOUND_RATE
    frame.pts = 0
    resampler = av.AudioResampler(tone.format.name, "mono", SOUND_RATE, tone.frame_size or 1024)
    for part in [*resampler.resample(frame), *resampler.resample(None)]:
        out.mux(tone.encode(part))
    out.mux(tone.encode(None))
