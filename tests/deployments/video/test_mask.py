from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from deployments.errors import ChoiceError, ImageTooLargeError, UncertainFacesError, VideoError
from deployments.types import MaskParams
from deployments.video.mask import MaskedFilm, VideoParams, inside, mask_film
from models.errors import InferenceError
from models.raw_faces import RawFaces
from models.scrfd import Scrfd
from models.types import Canvas, Detections, DetectParams, UInt8Array
from tests.deployments.video.clips import decoded, sound_packets, timestamps, write_clip
from tests.tiny_scrfd import red_block_picture

SOLID = MaskParams("solid")
PLAIN = DetectParams()
SECRETS = {"title": "Anna Schmidt", "location": "+52.5200+013.4050/", "comment": "our secret"}


def mask(
    source: Path, target: Path, scrfd: Scrfd, params: DetectParams = PLAIN, **options: Any
) -> MaskedFilm:
    video = VideoParams(**options)
    return mask_film(source, target, scrfd, params, SOLID, video, 10_000_000)


def block(
    level: int = 255, *, column: int = 2, row: int = 3, size: tuple[int, int] = (360, 640)
) -> UInt8Array:
    return red_block_picture(*size, {(column, row): level})


def reds(path: Path, *, column: int = 2, row: int = 3) -> list[int]:
    """The most red there is inside a block, frame by frame."""
    inside = slice(row * 32 + 4, row * 32 + 28), slice(column * 32 + 4, column * 32 + 28)
    return [int(frame[inside][..., 0].max()) for frame in decoded(path)]


def test_a_face_the_detector_misses_for_some_frames_stays_masked(tmp_path: Path, red_finder: Scrfd) -> None:
    levels = [90 if index in (9, 10, 11) else 255 for index in range(30)]
    source = write_clip(tmp_path / "in.mp4", [block(level) for level in levels])
    done = mask(source, tmp_path / "out.mp4", red_finder)
    assert min(reds(source)) > 60
    assert max(reds(tmp_path / "out.mp4")) < 20
    assert done == MaskedFilm(30, 30, ())


def test_sound_and_timestamps_are_kept_exactly(tmp_path: Path, red_finder: Scrfd) -> None:
    pts = [0, 1, 5, 6, 20, 21, 22, 40, 41, 77, 80, 100]
    frames = [block() for _ in pts]
    for end in (".mp4", ".mov", ".mkv"):
        source = write_clip(tmp_path / f"in{end}", frames, pts=pts, time_base=Fraction(1, 50), sound_s=2.2)
        target = tmp_path / f"out{end}"
        mask(source, target, red_finder)
        assert timestamps(target) == timestamps(source)
        assert sound_packets(target) == sound_packets(source)
        assert len(sound_packets(target)) > 90


def test_nothing_of_the_source_but_pixels_and_sound_is_left(tmp_path: Path, red_finder: Scrfd) -> None:
    source = tmp_path / "in.mkv"
    plain = write_clip(tmp_path / "plain.mkv", [block()] * 10, tags=SECRETS)
    with av.open(str(plain)) as given, av.open(str(source), "w") as out:
        out.metadata.update(SECRETS)
        copies = {stream.index: out.add_stream_from_template(stream) for stream in given.streams}
        words = out.add_mux_stream("subrip", time_base=Fraction(1, 1000))
        out.add_attachment("Anna Schmidt.txt", "text/plain", b"our secret")
        chapter = {"id": 1, "start": 0, "end": 300, "time_base": Fraction(1, 1000), "metadata": SECRETS}
        out.set_chapters([chapter])  # type: ignore[list-item]
        for packet in given.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream_index]
                out.mux(packet)
        said = av.Packet(b"Anna Schmidt, our secret")
        said.pts, said.dts, said.duration, said.time_base = 0, 0, 200, Fraction(1, 1000)
        said.stream = words
        out.mux(said)
    secrets = [text.encode() for text in (*SECRETS.values(), "Anna", "secret")]
    assert all(secret in source.read_bytes() for secret in secrets)
    for end in (".mkv", ".mp4"):
        target = tmp_path / f"out{end}"
        mask(source, target, red_finder)
        assert not any(secret in target.read_bytes() for secret in secrets)
        with av.open(str(target)) as film:
            assert [stream.type for stream in film.streams] == ["video", "audio"]
            assert film.chapters() == []


def test_captions_inside_of_frames_are_not_passed_on(tmp_path: Path, red_finder: Scrfd) -> None:
    source = write_clip(tmp_path / "in.mp4", [block()] * 5)
    with av.open(str(source)) as film:
        assert any(b"x264" in bytes(packet) for packet in film.demux(video=0))  # a message the encoder leaves
    plain = tmp_path / "in.h264"
    plain.write_bytes(_with_message(source))
    film_with_message = tmp_path / "in.mkv"
    with av.open(str(plain)) as given, av.open(str(film_with_message), "w") as out:
        stream = out.add_stream_from_template(given.streams.video[0], opaque=True)
        for index, packet in enumerate(given.demux()):
            if packet.size:
                packet.pts = packet.dts = index
                packet.time_base = Fraction(1, 25)
                packet.stream = stream
                out.mux(packet)
    assert b"Anna Schmidt" in film_with_message.read_bytes()
    mask(film_with_message, tmp_path / "out.mp4", red_finder)
    assert b"Anna Schmidt" not in (tmp_path / "out.mp4").read_bytes()


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_a_film_that_is_stored_turned_is_masked_and_written_upright(
    tmp_path: Path, red_finder: Scrfd, rotation: int
) -> None:
    upright = block(column=2, row=3)
    stored = np.ascontiguousarray(np.rot90(upright, -rotation // 90))
    source = write_clip(tmp_path / "in.mp4", [stored] * 8, rotation=rotation)
    mask(source, tmp_path / "out.mp4", red_finder)
    frames = decoded(tmp_path / "out.mp4")
    assert frames[0].shape == upright.shape
    assert max(reds(tmp_path / "out.mp4")) < 20
    with av.open(str(tmp_path / "out.mp4")) as film:
        assert next(film.decode(video=0)).rotation == 0


def test_a_turned_film_keeps_its_content_the_right_way_round(tmp_path: Path, red_finder: Scrfd) -> None:
    upright = np.zeros((320, 640, 3), np.uint8)
    upright[:160, :320], upright[:160, 320:], upright[160:, :320] = (0, 200, 0), (0, 0, 200), (90, 90, 90)
    stored = np.ascontiguousarray(np.rot90(upright, 1))
    source = write_clip(tmp_path / "in.mp4", [stored] * 4, rotation=-90)
    mask(source, tmp_path / "out.mp4", red_finder)
    assert np.abs(decoded(tmp_path / "out.mp4")[0].astype(int) - upright)[20:-20, 20:-20].mean() < 6


def test_no_mask_lingers_after_a_cut(tmp_path: Path, red_finder: Scrfd) -> None:
    rng = np.random.default_rng(0)
    rooms = [cv2.resize(rng.integers(0, 200, (6, 10, 1), np.uint8), (640, 360)) for _ in range(2)]
    first, second = (np.repeat(room[..., None], 3, axis=2).astype(np.uint8) for room in rooms)
    first[96:128, 64:96] = (255, 0, 0)
    source = write_clip(tmp_path / "in.mp4", [first] * 12 + [second] * 12)
    done = mask(source, tmp_path / "out.mp4", red_finder)
    assert done == MaskedFilm(24, 12, ())
    same = [
        np.abs(a[96:128, 64:96].astype(int) - b[96:128, 64:96]).max() for a, b in _pairs(source, tmp_path)
    ]
    assert min(same[:12]) > 100
    assert max(same[12:]) < 30


def test_odd_sides_are_filled_up_to_even_ones(tmp_path: Path, red_finder: Scrfd) -> None:
    picture = block(size=(361, 641))
    source = write_clip(tmp_path / "in.mkv", [picture] * 5, codec="ffv1", pixel_format="yuv420p")
    mask(source, tmp_path / "out.mp4", red_finder)
    assert decoded(tmp_path / "out.mp4")[0].shape == (362, 642, 3)
    assert max(reds(tmp_path / "out.mp4")) < 20


@pytest.mark.parametrize(
    "pixel_format", ["yuv444p", "yuvj420p", "yuv422p10le", "gray", "bgr0", "yuv420p12le"]
)
def test_whatever_the_pixels_are_the_face_is_masked(
    tmp_path: Path, red_finder: Scrfd, pixel_format: str
) -> None:
    codec = "mjpeg" if pixel_format == "yuvj420p" else "ffv1"
    source = write_clip(tmp_path / "in.mkv", [block()] * 5, codec=codec, pixel_format=pixel_format)
    done = mask(source, tmp_path / "out.mp4", red_finder)
    assert done.masked == (0 if pixel_format == "gray" else 5)  # red is what the detector looks for
    if pixel_format != "gray":
        assert max(reds(tmp_path / "out.mp4")) < 20


def test_ten_bits_and_the_meaning_of_colours_are_kept(tmp_path: Path, red_finder: Scrfd) -> None:
    hlg = {"colorspace": 9, "color_primaries": 9, "color_trc": 18, "color_range": 1}
    pictures = [block()] * 5
    source = write_clip(
        tmp_path / "in.mp4", pictures, codec="libx265", pixel_format="yuv420p10le", colours=hlg
    )
    mask(source, tmp_path / "out.mp4", red_finder)
    with av.open(str(tmp_path / "out.mp4")) as film:
        frame = next(film.decode(video=0))
        assert frame.format.name == "yuv420p10le"
        assert [frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range] == [9, 9, 18, 1]
        assert film.streams.video[0].codec_context.codec_tag == "hvc1"
        luma = frame.to_ndarray()[100:124, 68:92]
    assert luma.max() <= 64 + 8


def test_a_moving_portrait_stays_masked_while_the_detector_sees_every_third_frame_only(
    tmp_path: Path, face_finder: Scrfd, astronaut: NDArray[np.uint8]
) -> None:
    moves = [np.array([[1, 0, 4 * index - 40], [0, 1, index - 10]], np.float32) for index in range(24)]
    frames = [np.asarray(cv2.warpAffine(astronaut, move, (640, 480)), np.uint8) for move in moves]
    source = write_clip(tmp_path / "in.mp4", frames)
    forgetful = _Forgetful(face_finder)
    mask(source, tmp_path / "out.mp4", forgetful)
    assert forgetful.missed > 10
    eyes = np.array([[204, 110, 1], [250, 110, 1]])
    for frame, move in zip(decoded(tmp_path / "out.mp4"), moves, strict=True):
        for x, y in (eyes @ move.T).astype(int):
            assert frame[y - 6 : y + 6, x - 6 : x + 6].max() < 24


def test_a_face_too_small_for_one_look_is_found_with_detail_max(tmp_path: Path, red_finder: Scrfd) -> None:
    source = write_clip(tmp_path / "in.mp4", [block(size=(720, 1280))] * 4)
    assert mask(source, tmp_path / "fast.mp4", red_finder).masked == 0
    assert mask(source, tmp_path / "max.mp4", red_finder, DetectParams(detail="max")).masked == 4
    assert min(reds(tmp_path / "fast.mp4")) > 200
    assert max(reds(tmp_path / "max.mp4")) < 20


def test_uncertain_faces_are_masked_or_refused_as_asked(tmp_path: Path, red_finder: Scrfd) -> None:
    source = write_clip(tmp_path / "in.mp4", [block(110)] * 6)
    assert mask(source, tmp_path / "out.mp4", red_finder).masked == 0
    assert mask(source, tmp_path / "out.mp4", red_finder, DetectParams(uncertain="mask")).masked == 6
    with pytest.raises(UncertainFacesError, match="possible faces"):
        mask(source, tmp_path / "none.mp4", red_finder, DetectParams(uncertain="reject"))
    assert not (tmp_path / "none.mp4").exists()


def test_a_detector_that_fails_leaves_no_file(tmp_path: Path, red_finder: Scrfd) -> None:
    source = write_clip(tmp_path / "in.mp4", [block()] * 40)
    with pytest.raises(InferenceError, match="broke"):
        mask(source, tmp_path / "out.mp4", _Broken(red_finder))
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_a_film_that_was_cut_off_is_masked_as_far_as_it_goes_under_another_name(
    tmp_path: Path, red_finder: Scrfd
) -> None:
    rng = np.random.default_rng(0)
    noise = [np.maximum(block(), rng.integers(0, 90, (360, 640, 1), np.uint8)) for _ in range(60)]
    for end, options in ((".mkv", {}), (".mp4", {"movflags": "faststart"})):
        whole = write_clip(tmp_path / f"whole{end}", noise, options=options, sound_s=2.4)
        source = tmp_path / f"in{end}"
        source.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        with pytest.raises(VideoError, match=r"frames .* are masked in out\.incomplete"):
            mask(source, tmp_path / f"out{end}", red_finder)
        assert not (tmp_path / f"out{end}").exists()
        levels = reds(tmp_path / f"out.incomplete{end}")
        assert 10 < len(levels) < 60
        assert max(levels) < 40


def test_what_is_no_film_is_refused_with_its_reason(tmp_path: Path, red_finder: Scrfd) -> None:
    (tmp_path / "noise.mp4").write_bytes(b"not a film at all" * 100)
    sound_only = tmp_path / "sound.mp4"
    with av.open(str(sound_only), "w") as out:
        tone: Any = out.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 48000
        out.mux(tone.encode(frame))
        out.mux(tone.encode(None))
    asf = write_clip(tmp_path / "in.wmv", [block()] * 3, codec="mpeg4", sound="wmav2")
    whole = write_clip(tmp_path / "whole.mp4", [block()] * 3)
    headless = tmp_path / "headless.mp4"
    headless.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    for source, reason in (
        (tmp_path / "noise.mp4", "cannot be read as a video"),
        (sound_only, "no moving picture"),
        (asf, "cannot hold its sound .wmav2"),
        (headless, "cannot be read as a video"),
    ):
        with pytest.raises(VideoError, match=reason):
            mask(source, tmp_path / "out.mp4", red_finder)
    mask(asf, tmp_path / "silent.mp4", red_finder, sound=False)
    with pytest.raises(ImageTooLargeError, match="640x360"):
        mask_film(whole, tmp_path / "out.mp4", red_finder, DetectParams(), SOLID, VideoParams(), 1000)
    with pytest.raises(ChoiceError, match="encoded anew"):
        lossless = replace(SOLID, lossless=True)
        mask_film(whole, tmp_path / "out.mp4", red_finder, PLAIN, lossless, VideoParams(), 10**6)
    assert not (tmp_path / "out.mp4").exists()


def test_a_face_that_left_the_frame_leaves_no_mask_at_its_edge() -> None:
    boxes = np.array(
        [[-30, 10, -5, 40], [-30, 10, 5, 40], [630, 10, 660, 40], [10, 360, 40, 400]], np.float32
    )
    assert inside(boxes, 640, 360).tolist() == boxes[1:3].tolist()


def test_an_interrupted_run_leaves_no_file(tmp_path: Path, red_finder: Scrfd) -> None:
    source = write_clip(tmp_path / "in.mp4", [block()] * 60)

    def interrupt(done_s: float, of_s: float | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mask_film(
            source, tmp_path / "out.mp4", red_finder, DetectParams(), SOLID, VideoParams(), 10**7, interrupt
        )
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


class _Forgetful(Scrfd):
    """Sees nothing in two of three frames."""

    def __init__(self, scrfd: Scrfd) -> None:
        self.__dict__ |= scrfd.__dict__
        self.workers = 1
        self.missed = self.asked = 0

    def postprocess(self, raw: RawFaces, canvas: Canvas, params: DetectParams) -> Detections:
        found = super().postprocess(raw, canvas, params)
        self.asked += 1
        if self.asked % 3 == 1:
            return found
        self.missed += 1
        return replace(found, boxes=found.boxes[:0], scores=found.scores[:0])


class _Broken(Scrfd):
    """Fails at the twentieth frame."""

    def __init__(self, scrfd: Scrfd) -> None:
        self.__dict__ |= scrfd.__dict__
        self.asked = 0

    def infer(self, blob: UInt8Array, *, is_alone: bool = True) -> Sequence[RawFaces]:
        self.asked += len(blob)
        if self.asked > 20:
            raise InferenceError("it broke")
        return super().infer(blob, is_alone=is_alone)


def _pairs(source: Path, folder: Path) -> list[tuple[UInt8Array, UInt8Array]]:
    return list(zip(decoded(source), decoded(folder / "out.mp4"), strict=True))


def _with_message(source: Path) -> bytes:
    """The H.264 of a film with a text message (SEI, user data) before every frame."""
    text = b"Anna Schmidt, +52.5200+013.4050/"
    message = b"\0\0\0\1\6\5" + bytes([16 + len(text)]) + bytes(range(1, 17)) + text + b"\x80"
    annexb = av.BitStreamFilterContext("h264_mp4toannexb", av.open(str(source)).streams.video[0])
    stream = b""
    with av.open(str(source)) as film:
        for packet in film.demux(video=0):
            if packet.size:
                for part in annexb.filter(packet):
                    stream += message + bytes(part)
    return stream
