"""Whatever breaks at a border between stages, /mask ends in an error or in a picture without its face.

The real stages, called through their real sockets and shared memory, in one process. A share of the calls
goes wrong in every way a stage can: exceptions, silence, nonsense of every shape, a replica that dies.
"""

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from deployments.calls import Callee, Caller, remove_calls_folder
from deployments.deadline import Deadline
from deployments.decoding.decode import decode
from deployments.detection.batch import BatchItem, infer_batch
from deployments.detection.search import search
from deployments.errors import ImageDecodeError
from deployments.masking.mask import mask
from deployments.parcels import CanvasParcel, DecodedParcel, MaskedParcel, PictureParcel
from deployments.pipeline import ServePipeline
from deployments.stage import Stage
from deployments.transport import INLINE, Locker, Parcel, host_id, receive, send
from deployments.types import DecodeParams, FaceChoice, Inferred, MaskParams
from models.errors import FaceError, InferenceError
from models.raw_faces import HeadOutputs
from models.resolve import ModelSource
from models.scrfd import Scrfd, ScrfdOptions
from models.types import DetectParams, Float32Array
from tests.tiny_scrfd import CELL, red_block_picture, write_tiny_scrfd

pytestmark = pytest.mark.skipif(not host_id(), reason="no shared memory on this platform")

REQUESTS = 300
AT_ONCE = 16
TIMEOUT_S = 2.0
BLACK = cv2.imencode(".png", np.zeros((64, 64, 3), np.uint8))[1].tobytes()
MASKING = MaskParams(method="solid", format="png", padding=0.0)
ASKED = (
    MASKING,
    replace(MASKING, method="gaussian", fill=(0, 0, 0), has_floor=False),
    replace(MASKING, regions=((0.0, 600.0, 40.0, 40.0), (8.5, 0.0, 3.0, 3.0))),
    replace(MASKING, choice=FaceChoice(only=(0,), face_count=1, min_face=CELL)),
    replace(MASKING, choice=FaceChoice(skip=(), face_count=1)),
    replace(MASKING, fill="image", fill_image=BLACK),
)
"""What requests ask for in turn; each wants its one face hidden."""

Breakage = Callable[[Any], Any]


class NonsenseError(Exception):
    """A bug in a stage."""


async def never(_: Any) -> Any:
    await asyncio.sleep(3600)


def boom(_: Any) -> Any:
    raise NonsenseError


def with_boxes(change: Callable[[Float32Array], Float32Array]) -> Breakage:
    def broken(found: Inferred) -> Inferred:
        return replace(
            found, detections=replace(found.detections, boxes=change(found.detections.boxes.copy()))
        )

    return broken


def not_a_number(boxes: Float32Array) -> Float32Array:
    return boxes * np.float32(np.nan)


DECODER: dict[str, Breakage] = {
    "exception": boom,
    "silence": never,
    "error as a value": lambda _: ImageDecodeError("made up"),
    "nothing": lambda _: None,
    "no picture": lambda parcel: replace(parcel, picture=None),
    "no canvas": lambda parcel: replace(parcel, canvas=None),
    "a picture of another size": lambda parcel: replace(
        parcel, picture=replace(parcel.picture, pixels=replace(parcel.picture.pixels, shape=(8, 8, 3)))
    ),
    "a canvas of another size": lambda parcel: replace(
        parcel, canvas=replace(parcel.canvas, pixels=replace(parcel.canvas.pixels, shape=(8, 8, 3)))
    ),
    "a tile left out": lambda parcel: replace(parcel, tiles=parcel.tiles[:-1]),
    "a tile of another size": lambda parcel: replace(
        parcel,
        tiles=tuple(replace(tile, pixels=replace(tile.pixels, shape=(8, 8, 3))) for tile in parcel.tiles),
    ),
    "tiles of another picture": lambda parcel: replace(
        parcel, tiles=tuple(replace(tile, width=tile.width + 64) for tile in parcel.tiles)
    ),
}
DETECTOR: dict[str, Breakage] = {
    "exception": boom,
    "silence": never,
    "error as a value": lambda _: InferenceError("made up"),
    "nothing": lambda _: None,
    "boxes that are no numbers": with_boxes(not_a_number),
    "boxes of three numbers": with_boxes(lambda boxes: boxes[:, :3]),
    "boxes without an axis": with_boxes(lambda boxes: boxes.reshape(-1)),
    "passes left out": lambda found: replace(found, passes=found.passes[:-1]),
    "nothing of uncertain faces": lambda found: replace(found, uncertain=None),
    "one face more": with_boxes(lambda boxes: np.concatenate([boxes, boxes + 1])),
}
MASKER: dict[str, Breakage] = {
    "exception": boom,
    "silence": never,
    "nothing": lambda _: None,
    "a region left out": lambda parcel: replace(parcel, regions_masked=parcel.regions_masked - 1),
    "an empty picture": lambda parcel: replace(parcel, data=Parcel((0,), b"", INLINE, 0, 0)),
}


class Faults:
    """Breaks a share of the calls of every stage, one after the other in every way."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(11)
        self._turns = {stage: itertools.count() for stage in ("Decoder", "Detector", "Masker")}
        self.happened: set[tuple[str, str]] = set()
        self.share = 0.0

    def around(
        self, stage: str, method: Callable[..., Awaitable[Any]], ways: dict[str, Breakage]
    ) -> Callable[..., Awaitable[Any]]:
        async def broken(*arguments: object) -> Any:
            value = await method(*arguments)
            if self._rng.random() >= self.share or isinstance(value, FaceError):
                return value
            name = list(ways)[next(self._turns[stage]) % len(ways)]
            self.happened.add((stage, name))
            result = ways[name](value)
            return await result if asyncio.iscoroutine(result) else result

        return broken


class Stages:
    """Decoder, Detector and Masker without Ray."""

    def __init__(self, scrfd: Scrfd, faults: Faults) -> None:
        self.session = f"test-{uuid.uuid4().hex[:8]}"
        self._scrfd = scrfd
        methods = {
            "Decoder": ("decode", self.decode, DECODER),
            "Detector": ("detect", self.detect, DETECTOR),
            "Masker": ("mask", self.mask, MASKER),
        }
        self.callees = {
            stage: Callee(self.session, stage, {name: faults.around(stage, method, ways)})
            for stage, (name, method, ways) in methods.items()
        }
        self.callers = {stage: Caller(self.session, stage) for stage in methods}

    def pipeline(self) -> ServePipeline:
        def lost(*_: object) -> Any:
            future = asyncio.get_running_loop().create_future()
            future.set_exception(ConnectionError("there is no Ray here"))
            return future

        remote = SimpleNamespace(remote=lost)
        handle: Any = SimpleNamespace(decode=remote, detect=remote, mask=remote)
        return ServePipeline(*(Stage(name, handle, caller) for name, caller in self.callers.items()))

    def kill_connections(self, stage: str) -> None:
        """What callers see of a replica that was killed."""
        for connection in list(self.callees[stage].connections):
            assert connection._transport is not None
            connection._transport.abort()

    async def decode(
        self, upload: Parcel, params: DecodeParams, locker: Locker, timeout_s: float
    ) -> DecodedParcel | FaceError:
        def work() -> DecodedParcel | FaceError:
            try:
                data = receive(upload).tobytes()
                decoded = decode(
                    data, max_pixels=10**7, keep_picture=params.keep_picture, detail=params.detail
                )
                return DecodedParcel.pack(decoded, 0.0, locker, upload)
            except FaceError as error:
                return error

        return await asyncio.to_thread(work)

    async def detect(
        self, canvases: Sequence[CanvasParcel], params: DetectParams, is_alone: bool, timeout_s: float
    ) -> Inferred | FaceError:
        async def submit(item: BatchItem) -> Inferred | FaceError:
            (answer,) = await asyncio.to_thread(infer_batch, self._scrfd, [item])
            return answer

        deadline = Deadline.after(timeout_s)
        if params.is_plain:
            return await submit(BatchItem(canvases[0], params, deadline, 0.0))
        return await search(submit, canvases, params, deadline, is_alone=is_alone, at_once=2)

    async def mask(
        self,
        picture: PictureParcel,
        boxes: Float32Array,
        params: MaskParams,
        timeout_s: float,
    ) -> MaskedParcel | FaceError:
        def work() -> MaskedParcel | FaceError:
            try:
                masked = mask(picture.unpack(), boxes, params)
                encoded = np.frombuffer(masked.data, np.uint8)
                data = send(encoded, picture.pixels.locker, picture.pixels)
                times = (0.0, masked.mask_ms, masked.encode_ms)
                return MaskedParcel(data, masked.regions_masked, *times, masked.strength_raised)
            except FaceError as error:
                return error

        return await asyncio.to_thread(work)


@pytest.fixture
def scrfd(tmp_path: Path) -> Scrfd:
    weights = write_tiny_scrfd(tmp_path / "tiny.onnx")
    source = ModelSource(str(weights), (), tmp_path)
    return Scrfd.load(ScrfdOptions(source, tmp_path / "prepared", provider="cpu", threads=1))


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
async def stages(scrfd: Scrfd, faults: Faults) -> AsyncIterator[Stages]:
    running = Stages(scrfd, faults)
    for callee in running.callees.values():
        await callee.start()
    yield running
    for caller in running.callers.values():
        caller.close()
    for callee in running.callees.values():
        await callee.stop()
    remove_calls_folder(running.session)


PARAMS = (DetectParams(), DetectParams(detail="max"), DetectParams(detail="auto", uncertain="mask"))
"""What requests ask for in turn."""


def params_of(number: int) -> DetectParams:
    return PARAMS[number % len(PARAMS)]


def picture_of(number: int) -> tuple[bytes, tuple[int, int]]:
    """A picture with a face of its own place, and that place; a green corner tells it from others.

    For `detail=max` the face fits its tile's grid, and not the whole picture's; with `uncertain=mask` there
    is a second one, of score 0.3.
    """
    cell = (1 + number % 19, number // 19 % 20)
    cells, params = {cell: 255}, params_of(number)
    if params.uncertain == "mask":
        cells[0, 18] = 106
    pixels = red_block_picture(640, 704 if params.detail == "max" else 640, cells)
    pixels[:8, :8] = (0, 64 + number % 128, number // 128)
    _, data = cv2.imencode(".png", pixels[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return data.tobytes(), cell


def check(number: int, cell: tuple[int, int], data: bytes) -> None:
    """The picture that was sent, and no red left in it."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert pixels is not None
    assert tuple(pixels[4, 4]) == (0, 64 + number % 128, number // 128)
    x, y = cell[0] * CELL, cell[1] * CELL
    assert pixels[y : y + CELL, x : x + CELL].max() == 0
    assert pixels[:, :, 0].max() == 0


async def test_every_answer_is_an_error_or_correctly_masked(stages: Stages, faults: Faults) -> None:
    pipeline = stages.pipeline()
    slots = asyncio.Semaphore(AT_ONCE)
    pictures = [picture_of(number) for number in range(REQUESTS)]
    answered, failed = 0, 0

    async def send_one(number: int) -> None:
        nonlocal answered, failed
        data, cell = pictures[number]
        async with slots:
            try:
                masking = ASKED[number % len(ASKED)]
                result = await pipeline.mask(data, params_of(number), masking, TIMEOUT_S)
            except Exception:  # of any kind: it becomes an error of the API
                failed += 1
                await asyncio.sleep(0.1)  # as clients do; a replica that came back is found within 0.25 s
                return
            check(number, cell, result.masked.data)
            answered += 1

    faults.share = 0.2
    work = asyncio.gather(*(send_one(number) for number in range(REQUESTS)))
    for stage in ("Decoder", "Detector", "Masker") * 3:
        await asyncio.sleep(0.2)
        stages.kill_connections(stage)
    await work
    assert answered + failed == REQUESTS
    assert answered > REQUESTS / 10
    assert failed > REQUESTS / 10
    everything = {("Decoder", name) for name in DECODER} | {("Detector", name) for name in DETECTOR}
    assert faults.happened >= everything | {("Masker", name) for name in MASKER}

    faults.share = 0.0
    data, cell = picture_of(7)
    await asyncio.sleep(0.3)
    check(7, cell, (await pipeline.mask(data, params_of(7), MASKING, 10)).masked.data)


@pytest.mark.parametrize(
    "change",
    [
        lambda outputs: [*(np.full_like(o, np.nan) for o in outputs[:3]), *outputs[3:]],
        lambda outputs: [outputs[0], outputs[1] * np.float32(np.nan), *outputs[2:]],
        lambda outputs: [*outputs[:3], *(np.full_like(o, np.inf) for o in outputs[3:6]), *outputs[6:]],
        lambda outputs: [output[:-2] for output in outputs],
        lambda outputs: outputs[:5],
        lambda outputs: [],
        lambda outputs: [np.empty((0, output.shape[1]), np.float32) for output in outputs],
    ],
    ids=["scores NaN", "one stride NaN", "boxes inf", "rows missing", "outputs missing", "nothing", "empty"],
)
async def test_a_session_that_answers_nonsense_is_an_error(
    scrfd: Scrfd, change: Callable[[list[Any]], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from deployments.pipeline import LocalPipeline

    right = scrfd.infer

    def wrong(blob: Any, *, is_alone: bool = True) -> list[HeadOutputs]:
        return [HeadOutputs(change(list(raw.outputs))) for raw in right(blob, is_alone=is_alone)]  # type: ignore[attr-defined]

    monkeypatch.setattr(scrfd, "infer", wrong)
    for number in range(len(PARAMS)):
        data, _ = picture_of(number)
        with pytest.raises(Exception):  # noqa: B017 - of any kind
            await LocalPipeline(scrfd, 10**7).mask(data, params_of(number), MASKING, 10)


async def test_a_session_that_fails_at_one_tile_only_is_an_error(
    scrfd: Scrfd, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deployments.pipeline import LocalPipeline

    data, cell = picture_of(1)
    pipeline = LocalPipeline(scrfd, 10**7)
    check(1, cell, (await pipeline.mask(data, params_of(1), MASKING, 10)).masked.data)
    right, runs = scrfd.infer, itertools.count()

    def wrong(blob: Any, *, is_alone: bool = True) -> Any:
        answers = right(blob, is_alone=is_alone)
        return (
            [HeadOutputs([part[:-2] for part in raw.outputs]) for raw in answers]
            if next(runs) == 2
            else answers
        )  # type: ignore[attr-defined]

    monkeypatch.setattr(scrfd, "infer", wrong)
    with pytest.raises(InferenceError):
        await pipeline.mask(data, params_of(1), MASKING, 10)
    assert next(runs) == 3
