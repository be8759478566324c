"""Passes are made by a fake, or by the tiny detector, which finds red blocks of 32 pixels on its own grid."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deployments.deadline import Deadline
from deployments.detection.batch import BatchItem, HalfCanvas, infer_batch
from deployments.detection.batcher import Batcher
from deployments.detection.search import Submit, search
from deployments.errors import DeadlineExceededError
from deployments.types import Inferred
from models.errors import FaceError, InferenceError
from models.resolve import ModelSource
from models.scrfd import Scrfd, ScrfdOptions
from models.tiling import tiling
from models.types import Canvas, Detail, Detections, DetectParams, UInt8Array
from tests.tiny_scrfd import CELL, red_block_picture, write_tiny_scrfd

WIDTH, HEIGHT = 1280, 640
TILES = tiling(WIDTH, HEIGHT)
Face = tuple[float, float, float, float, float]  # box and score


@pytest.fixture
def scrfd(tmp_path: Path) -> Scrfd:
    weights = write_tiny_scrfd(tmp_path / "tiny.onnx")
    source = ModelSource(str(weights), (), tmp_path)
    return Scrfd.load(ScrfdOptions(source, tmp_path / "prepared", "openvino", 1, "fp32"))


def canvases(pixels: UInt8Array | None = None, detail: Detail = "max") -> list[Canvas]:
    """What the Decoder makes of a picture of 1280 x 640."""
    source = np.zeros((HEIGHT, WIDTH, 3), np.uint8) if pixels is None else pixels
    whole = Canvas(np.ascontiguousarray(source[::2, ::2]), WIDTH, HEIGHT, 0.5)
    if detail != "max":
        return [whole]
    parts = [source[t.top : t.top + t.height, t.left : t.left + t.width] for t in TILES]
    return [whole, *(Canvas(p, WIDTH, HEIGHT, 1.0, t) for p, t in zip(parts, TILES, strict=True))]


def kind_of(item: BatchItem) -> str:
    return "half" if isinstance(item.canvas, HalfCanvas) else "tile" if item.canvas.tile else "whole"


class FakePasses:
    """Answers each pass with faces made up for it."""

    def __init__(self, whole: Sequence[Face] = (), half: Sequence[Face] = ()) -> None:
        self.found = {"whole": whole, "half": half, "tile": ()}
        self.asked: list[str] = []
        self.confidences: list[float] = []
        self.waiting = self.most_waiting = 0

    async def submit(self, item: BatchItem) -> Inferred | FaceError:
        kind = kind_of(item)
        self.asked.append(kind)
        self.confidences.append(item.params.confidence)
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        await asyncio.sleep(0.001)
        self.waiting -= 1
        rows = np.array(self.found[kind], np.float32).reshape(-1, 5)
        rows = rows[rows[:, 4] >= item.params.confidence]
        faces = Detections(rows[:, :4], rows[:, 4], None, len(rows), 0.1, 0.1)
        return Inferred(faces, "fake", queue_ms=0.1, blob_ms=0.1, inference_ms=0.5, batch_size=1)


async def ask(
    submit: Submit, params: DetectParams, given: Sequence[Canvas] | None = None, at_once: int = 2
) -> Inferred | FaceError:
    made = canvases(detail=params.detail) if given is None else given
    return await search(submit, made, params, Deadline.after(120), is_alone=True, at_once=at_once)


async def faces(
    submit: Submit, params: DetectParams, given: Sequence[Canvas] | None = None, at_once: int = 2
) -> Inferred:
    found = await ask(submit, params, given, at_once)
    assert isinstance(found, Inferred)
    return found


LARGE = (100.0, 100.0, 500.0, 500.0)


@pytest.mark.parametrize(
    ("whole", "passes"),
    [
        ((), ["whole"]),
        (((*LARGE, 0.9),), ["whole"]),
        (((*LARGE, 0.3),), ["whole", "half"]),
        (((*LARGE, 0.01),), ["whole", "half"]),
        (((100, 100, 200, 200, 0.3),), ["whole"]),
        (((*LARGE, 0.9), (700, 100, 1100, 500, 0.2)), ["whole", "half"]),
    ],
    ids=["nothing there", "sure close-up", "weak close-up", "hint of one", "small", "one of two sure"],
)
async def test_auto_looks_at_half_the_size_unless_the_first_look_leaves_no_room_for_a_close_up(
    whole: Sequence[Face], passes: list[str]
) -> None:
    fake = FakePasses(whole, half=((90, 90, 510, 510, 0.8),))
    found = await faces(fake.submit, DetectParams(detail="auto"))
    assert fake.asked == passes
    assert [one.kind for one in found.passes] == passes


async def test_a_close_up_of_the_half_is_found_and_what_it_added_is_told() -> None:
    fake = FakePasses(((*LARGE, 0.3),), half=((90, 90, 510, 510, 0.8),))
    found = await faces(fake.submit, DetectParams(detail="auto"))
    assert found.detections.boxes.tolist() == [[90, 90, 510, 510]]
    assert [(one.kind, one.width, one.height, one.faces_added) for one in found.passes] == [
        ("whole", 640, 320, 0),
        ("half", 320, 160, 1),
    ]


async def test_weak_faces_are_apart_from_sure_ones() -> None:
    fake = FakePasses(((0, 0, 40, 40, 0.9), (100, 0, 140, 40, 0.3), (200, 0, 240, 40, 0.1)))
    found = await faces(fake.submit, DetectParams(uncertain="report", mask_confidence=0.2))
    assert found.uncertain is not None
    assert found.detections.boxes[:, 0].tolist() == [0]
    assert found.uncertain.boxes[:, 0].tolist() == [100]
    assert found.passes == ()
    assert fake.confidences == pytest.approx([0.2])


async def test_others_pictures_may_run_between_the_passes() -> None:
    fake = FakePasses(((*LARGE, 0.3),))
    await faces(fake.submit, DetectParams(detail="max"), at_once=2)
    assert fake.asked == ["whole", *(["tile"] * len(TILES)), "half"]
    assert fake.most_waiting == 2


async def test_stage_times_add_up_to_no_more_than_what_the_request_waited() -> None:
    fake = FakePasses(((*LARGE, 0.3),))
    began_s = asyncio.get_running_loop().time()
    found = await faces(fake.submit, DetectParams(detail="max"), at_once=4)
    waited_ms = (asyncio.get_running_loop().time() - began_s) * 1e3
    named = found.queue_ms + found.blob_ms + found.inference_ms
    assert named + found.detections.postprocess_ms + found.detections.nms_ms <= waited_ms


@pytest.mark.parametrize("failing", ["whole", "tile", "half"])
async def test_a_pass_that_fails_fails_the_request(failing: str) -> None:
    fake = FakePasses(((*LARGE, 0.3),))

    async def submit(item: BatchItem) -> Inferred | FaceError:
        return InferenceError("broken") if kind_of(item) == failing else await fake.submit(item)

    assert isinstance(await ask(submit, DetectParams(detail="max")), InferenceError)


@pytest.mark.parametrize(
    "change",
    [
        lambda made: made[:-1],
        lambda made: [*made, made[-1]],
        lambda made: [made[0], *made[:0:-1]],
        lambda made: made[1:],
        lambda made: [made[0], *(replace(canvas, tile=None) for canvas in made[1:])],
    ],
    ids=["one missing", "one twice", "another order", "no whole picture", "tiles of nothing"],
)
async def test_other_canvases_than_the_pictures_own_are_refused(change: object) -> None:
    fake = FakePasses()
    given = change(canvases())  # type: ignore[operator]
    assert isinstance(await ask(fake.submit, DetectParams(detail="max"), given), InferenceError)
    assert fake.asked == []


async def test_the_deadline_holds_between_passes(scrfd: Scrfd) -> None:
    deadline = Deadline.after(120)
    passes = 0

    async def submit(item: BatchItem) -> Inferred | FaceError:
        nonlocal passes
        passes += 1
        return infer_batch(scrfd, [item if passes < 3 else replace(item, deadline=Deadline.after(-1))])[0]

    found = await search(submit, canvases(), DetectParams(detail="max"), deadline, is_alone=True, at_once=1)
    assert isinstance(found, DeadlineExceededError)
    assert passes == 3


async def test_small_faces_are_found_at_the_pictures_own_size_wherever_they_lie(scrfd: Scrfd) -> None:
    """Blocks so small that the whole picture shows a quarter of a cell; one is seen by two tiles."""
    cells = {(0, 0): 255, (14, 5): 255, (20, 3): 255, (39, 19): 255}

    async def submit(item: BatchItem) -> Inferred | FaceError:
        return infer_batch(scrfd, [item])[0]

    picture = canvases(red_block_picture(HEIGHT, WIDTH, cells))
    assert not len((await faces(submit, DetectParams(), picture[:1])).detections.boxes)
    found = (await faces(submit, DetectParams(detail="max"), picture)).detections
    corners = sorted((x, y) for x, y in found.boxes[:, :2].tolist())
    assert corners == [(x * CELL, y * CELL) for x, y in sorted(cells)]
    assert (found.boxes[:, 2:] - found.boxes[:, :2] == CELL).all()


async def test_requests_of_every_detail_share_batches_and_get_their_own_faces(scrfd: Scrfd) -> None:
    batcher: Batcher[BatchItem, Inferred] = Batcher(lambda items: infer_batch(scrfd, items), 2)
    batcher.configure(8, 0.0)

    async def one(number: int) -> None:
        column, row = number % 20, number // 20
        if number % 2:  # at its own size
            small = canvases(red_block_picture(HEIGHT, WIDTH, {(column, row): 255}))
            found = await faces(batcher.submit, DetectParams(detail="max"), small, at_once=3)
            expected = [[column * CELL, row * CELL]]
        else:
            double = red_block_picture(HEIGHT, WIDTH, {(column, row): 255}, cell=2 * CELL)
            params = DetectParams(detail="auto", uncertain="mask")
            found = await faces(batcher.submit, params, canvases(double, "auto"))
            expected = [[column * 2 * CELL, row * 2 * CELL]]
        assert found.detections.boxes[:, :2].tolist() == expected

    await asyncio.gather(*(one(number) for number in range(120)))
