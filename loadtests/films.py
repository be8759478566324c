r"""How many labelled faces a tool leaves visible in a film, how often one flashes up, and how fast it is.

    python -m loadtests.films --dataset ../shared/data/wider_val_subset \
        --run "face-api mask {source} -o {target} --method solid" \
        --run "deface {source} -o {target} --replacewith solid --boxes"

The film is made of labelled photos: a camera pans, zooms and shakes over each, with motion blur and
compression, so where every face is in every frame is known. Tools must hide faces in black; a face counts as
visible in a frame when less than half of the ellipse in its box is black.
"""

import argparse
import resource
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import av
import cv2
import numpy as np
import numpy.typing as npt

from loadtests.machine import commit, machine
from models.evaluation import LabelledImage, load_dataset

FloatArray = npt.NDArray[np.float64]
UInt8Array = npt.NDArray[np.uint8]

WIDTH, HEIGHT = 1280, 720
RATE: Final = 25
EXPOSURES: Final = 3
"""Views in one frame: its motion blur."""
BLACK: Final = 40
"""Luma up to which a pixel counts as hidden."""
MOST_DARK: Final = 0.2
"""Faces of which more is that dark in the source are not judged."""
FLASH_FRAMES: Final = RATE
"""Longest time a face is visible between frames in which it is hidden that counts as a flash."""
LEAST_FACES, MOST_FACES = 1, 25


@dataclass(frozen=True, slots=True)
class Scene:
    """A photo, and where the camera looks."""

    picture: UInt8Array  # (h, w, 3) RGB
    boxes: FloatArray  # (G, 4) in it
    views: FloatArray  # (frames, EXPOSURES, 2, 3) from the photo to the frame


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a tool did to a film."""

    command: str
    seconds: float
    processor_s: float
    frames: int
    faces: int  # labelled faces in all frames
    visible: int  # of them
    frames_with_visible: int
    flashes: int
    outside: float  # share of the pixels far from any label that are hidden


def scenes(dataset: Path, count: int, seconds: float, smallest: float) -> list[Scene]:
    """The camera over `count` photos of a dataset, the same each time."""

    def is_wanted(image: LabelledImage) -> bool:
        large = (image.boxes[:, 3] - image.boxes[:, 1] >= smallest).sum()
        return large >= LEAST_FACES and len(image.boxes) <= MOST_FACES

    wanted = [image for image in load_dataset(dataset) if is_wanted(image)]
    chosen = [wanted[index * len(wanted) // count] for index in range(count)]
    rng = np.random.default_rng(1)
    return [_scene(dataset, image, round(seconds * RATE), rng) for image in chosen]


def film(scenes: Sequence[Scene], path: Path) -> list[FloatArray]:
    """Write the film; returns (G, 4) boxes in each frame, of all the photo's faces."""
    truth: list[FloatArray] = []
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(
            "libx264", rate=RATE, width=WIDTH, height=HEIGHT, time_base=Fraction(1, RATE)
        )
        stream.options = {"crf": "24"}
        for scene in scenes:
            for exposures in scene.views:
                views = [_seen(scene.picture, view) for view in exposures]
                blurred = np.mean(views, axis=0).round().astype(np.uint8)
                frame = av.VideoFrame.from_ndarray(blurred, "rgb24")
                frame.pts, frame.time_base = len(truth), Fraction(1, RATE)
                out.mux(stream.encode(frame))
                truth.append(_moved(scene.boxes, exposures[EXPOSURES // 2]))
        out.mux(stream.encode(None))
    return truth


def judge(
    command: str,
    took: tuple[float, float],
    source: Path,
    target: Path,
    truth: Sequence[FloatArray],
    lengths: Sequence[int],
    smallest: float,
) -> Verdict:
    """Compare a tool's film with the truth.

    Args:
        command: The tool's.
        took: Seconds of the clock, and of processors.
        source: The film.
        target: What the tool made of it.
        truth: (G, 4) boxes in each frame.
        lengths: Frames of each scene.
        smallest: Pixels a judged face is high.
    """
    states: list[list[bool | None]] = []  # of each face of each frame: visible, hidden, or not judged
    outside = []
    for before, after, boxes in zip(_lumas(source), _lumas(target), truth, strict=True):
        states.append([_is_visible(before, after, box, smallest) for box in boxes])
        outside.append(_outside(before, after, boxes))
    judged = [[state for state in frame if state is not None] for frame in states]
    flashes, start = 0, 0
    for length in lengths:
        scene = states[start : start + length]
        flashes += sum(_flashes(list(face)) for face in zip(*scene, strict=True))
        start += length
    return Verdict(
        command,
        *took,
        len(truth),
        sum(map(len, judged)),
        sum(map(sum, judged)),
        sum(map(any, judged)),
        flashes,
        float(np.mean(outside)),
    )


def _scene(dataset: Path, image: LabelledImage, frames: int, rng: np.random.Generator) -> Scene:
    bgr = cv2.imread(str(dataset / "images" / image.file))
    if bgr is None:
        raise FileNotFoundError(image.file)
    picture = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
    height, width = picture.shape[:2]
    widest = min(width, height * WIDTH / HEIGHT)
    ends = rng.uniform((0.55, 0.0, 0.0), (1.0, 1.0, 1.0), (2, 3))  # size and place of the window
    progress = (1 - np.cos(np.linspace(0, np.pi, frames * EXPOSURES))) / 2
    path = ends[0] + progress[:, None] * (ends[1] - ends[0])
    shake = (
        cv2.GaussianBlur(rng.normal(0, 1, (frames * EXPOSURES, 2)), (1, 0), 1.0, sigmaY=4.0) * 0.012 * widest
    )
    sizes = path[:, 0] * widest
    lefts = path[:, 1] * (width - sizes) + shake[:, 0]
    tops = path[:, 2] * (height - sizes * HEIGHT / WIDTH) + shake[:, 1]
    scale = WIDTH / sizes
    zero = np.zeros_like(scale)
    views = np.stack([scale, zero, -lefts * scale, zero, scale, -tops * scale], axis=-1)
    return Scene(picture, image.boxes, views.reshape(frames, EXPOSURES, 2, 3))


def _seen(picture: UInt8Array, view: FloatArray) -> UInt8Array:
    return np.asarray(
        cv2.warpAffine(picture, view, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def _moved(boxes: FloatArray, view: FloatArray) -> FloatArray:
    scale, offset = view[0, 0], view[:, 2]
    return np.asarray(boxes * scale + np.tile(offset, 2), np.float64)


def _lumas(path: Path) -> Iterator[UInt8Array]:
    with av.open(str(path)) as film:
        for frame in film.decode(video=0):
            yield np.asarray(frame.to_ndarray(format="gray"), np.uint8)


def _is_visible(before: UInt8Array, after: UInt8Array, box: FloatArray, smallest: float) -> bool | None:
    """Whether a face can be seen; None where nobody can say: too small, at the edge, or dark itself."""
    x1, y1, x2, y2 = np.round(box).astype(int)
    if min(y2 - y1, x2 - x1) < smallest / 2 or y2 - y1 < smallest:
        return None
    if x1 < 0 or y1 < 0 or x2 > WIDTH or y2 > HEIGHT:
        return None
    y, x = np.ogrid[: y2 - y1, : x2 - x1]
    ellipse = ((2 * x + 1 - (x2 - x1)) / (x2 - x1)) ** 2 + ((2 * y + 1 - (y2 - y1)) / (y2 - y1)) ** 2 <= 1
    if (before[y1:y2, x1:x2][ellipse] <= BLACK).mean() > MOST_DARK:
        return None
    return bool((after[y1:y2, x1:x2][ellipse] <= BLACK).mean() < 0.5)


def _outside(before: UInt8Array, after: UInt8Array, boxes: FloatArray) -> float:
    """Share of bright pixels that were hidden, far from all labels: more than their own size around them."""
    far = before > 2 * BLACK
    for x1, y1, x2, y2 in boxes:
        w, h = x2 - x1, y2 - y1
        far[max(0, int(y1 - h)) : max(0, int(y2 + h)), max(0, int(x1 - w)) : max(0, int(x2 + w))] = False
    return float((far & (after <= BLACK)).sum() / max(far.sum(), 1))


def _flashes(states: list[bool | None]) -> int:
    """How often a face that is hidden before and after is visible for a moment."""
    hidden = [index for index, state in enumerate(states) if state is False]
    return sum(
        1 < after - before <= FLASH_FRAMES and any(states[before + 1 : after])
        for before, after in pairwise(hidden)
    )


def _used_s() -> float:
    """Processor seconds of commands that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Make the film, run the tools, print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--run", action="append", required=True, help="a command with {source} and {target}")
    parser.add_argument("--photos", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each photo")
    parser.add_argument("--smallest", type=float, default=20.0, help="pixels a judged face is high")
    parser.add_argument("--keep", type=Path, help="folder in which the films stay")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        source = folder / "source.mp4"
        shots = scenes(options.dataset, options.photos, options.seconds, options.smallest)
        truth = film(shots, source)
        print(
            f"{machine()}, commit {commit()}; {len(truth)} frames of {WIDTH}x{HEIGHT}, {len(shots)} scenes\n"
        )
        print(
            "| command | frames/s | processor, ms a frame | faces visible | frames with one "
            "| flashes | hidden far from faces |"
        )
        print("|---|---|---|---|---|---|---|")
        for number, command in enumerate(options.run):
            target = folder / f"masked{number}.mp4"
            started, used = time.perf_counter(), _used_s()
            subprocess.run(  # noqa: S603 - the caller's own commands
                shlex.split(command.format(source=source, target=target)), check=True, capture_output=True
            )
            took = time.perf_counter() - started, _used_s() - used
            lengths = [len(shot.views) for shot in shots]
            v = judge(command, took, source, target, truth, lengths, options.smallest)
            print(
                f"| `{command}` | {v.frames / v.seconds:.1f} "
                f"| {1e3 * v.processor_s / v.frames:.0f} | {v.visible / v.faces:.2%} of {v.faces} "
                f"| {v.frames_with_visible / v.frames:.1%} | {v.flashes} | {v.outside:.2%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
