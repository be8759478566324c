from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

from deployments.pipeline import LocalPipeline
from loadtests.compare.baseline import anchors, create_app, decode_image, decode_outputs, letterbox, nms
from loadtests.upload import multipart
from models.resolve import ModelSource
from models.scrfd import Scrfd, ScrfdOptions
from models.types import DetectParams, Float32Array

Post = Callable[[str, bytes], Awaitable[httpx.Response]]


def iou(a: Float32Array, b: Float32Array) -> Float32Array:
    """(N, M) overlaps of boxes (N, 4) and (M, 4)."""
    shared = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    shared_areas = np.maximum(shared, 0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (a, b)]
    return shared_areas / (areas[0][:, None] + areas[1] - shared_areas)


@pytest.fixture
async def post(shared_dir: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Post]:
    """Uploads a picture to a route of the running application."""
    monkeypatch.setenv("BASELINE_MODEL", str(shared_dir / "models" / "scrfd_500m.onnx"))
    app = create_app()

    async def send(path: str, picture: bytes) -> httpx.Response:
        upload = multipart(picture)
        return await client.post(path, content=upload.body, headers={"Content-Type": upload.content_type})

    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://a") as client,
    ):
        yield send


@pytest.mark.shared
async def test_it_finds_the_same_faces_as_we_do(post: Post, shared_dir: Path, tmp_path: Path) -> None:
    picture = (shared_dir / "data" / "bench" / "p1080.jpg").read_bytes()
    source = ModelSource("scrfd_500m", (shared_dir / "models",), tmp_path)
    pipeline = LocalPipeline(Scrfd.load(ScrfdOptions(source, tmp_path, "cpu", 1)), 50_000_000)
    ours = (await pipeline.detect(picture, DetectParams(), 60)).inferred.detections
    theirs = (await post("/detect", picture)).json()

    overlaps = iou(ours.boxes, np.array(theirs["boxes"], np.float32))
    best = overlaps.argmax(axis=1)
    assert overlaps.shape == (6, 6)
    assert sorted(best) == list(range(6))
    assert (overlaps.max(axis=1) > 0.9).all()
    assert np.abs(np.array(theirs["scores"])[best] - ours.scores).max() < 0.05
    assert ours.landmarks is not None
    assert np.abs(np.array(theirs["landmarks"])[best] - ours.landmarks).max() < 5


@pytest.mark.shared
async def test_its_mask_changes_faces_only(post: Post, shared_dir: Path) -> None:
    picture = (shared_dir / "data" / "bench" / "p427.jpg").read_bytes()
    boxes = (await post("/detect", picture)).json()["boxes"]
    answer = await post("/mask", picture)
    assert answer.headers["content-type"] == "image/jpeg"
    before, after = decode_image(picture), decode_image(answer.content)
    assert before.shape == after.shape
    changed = np.abs(before.astype(int) - after).mean(axis=2)
    is_face = np.zeros(changed.shape, bool)
    for x1, y1, x2, y2 in boxes:
        grow_x, grow_y = 0.25 * (x2 - x1), 0.25 * (y2 - y1)
        top, left = max(0, int(y1 - grow_y)), max(0, int(x1 - grow_x))
        is_face[top : int(y2 + grow_y), left : int(x2 + grow_x)] = True
        assert changed[int(y1) : int(y2), int(x1) : int(x2)].mean() > 10
    assert changed[~is_face].mean() < 2


@pytest.mark.shared
async def test_what_is_no_picture_is_refused(post: Post) -> None:
    assert (await post("/detect", b"hello")).status_code == 400


def test_nms_drops_what_overlaps_a_better_box_that_stays() -> None:
    boxes = np.array(
        [[0, 0, 10, 10], [0, 0, 10, 9], [5, 0, 15, 10], [100, 100, 110, 110]], np.float32
    )  # the IoU of the first with the second is 0.9, with the third 1/3
    assert nms(boxes, 0.4).tolist() == [0, 2, 3]
    assert nms(boxes, 0.3).tolist() == [0, 3]
    assert nms(boxes[:0], 0.4).tolist() == []


def test_anchors_are_two_for_each_cell_without_a_shift() -> None:
    centres = anchors(32)
    assert centres.shape == (20 * 20 * 2, 2)
    assert centres[:4].tolist() == [[0, 0], [0, 0], [32, 0], [32, 0]]
    assert centres[40].tolist() == [0, 32]


def test_a_box_is_its_distances_from_the_anchor_in_strides() -> None:
    counts = [(640 // stride) ** 2 * 2 for stride in (8, 16, 32)]
    outputs = [np.zeros((count, width), np.float32) for width in (1, 4, 10) for count in counts]
    row = 2 * (2 * 40 + 3)  # stride 16, third row, fourth column: the anchor is at (48, 32)
    outputs[1][row] = 0.9
    outputs[4][row] = 1, 0.5, 2, 1
    outputs[7][row] = [0.25, -0.5] * 5
    scores, boxes, landmarks = decode_outputs(outputs)
    assert scores.tolist() == pytest.approx([0.9])
    assert boxes.tolist() == [[32, 24, 80, 48]]
    assert landmarks.tolist() == [[[52, 24]] * 5]


def test_a_picture_is_scaled_into_the_top_left() -> None:
    canvas, scale = letterbox(np.full((100, 320, 3), 255, np.uint8))
    assert scale == 2
    assert (canvas[:200] == 255).all()
    assert not canvas[200:].any()
    assert cv2.countNonZero(canvas[..., 0]) == 200 * 640
