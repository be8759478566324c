"""Buckets, buffers and threads of the session for GPUs, on the CPU."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from models.bucket_session import BUCKETS, BUFFERS, BucketSession
from models.errors import InferenceError
from models.gpu_graph import gpu_form
from models.host_memory import OrdinaryMemory
from models.onnxruntime_session import CPU, session_options
from models.postprocess import postprocess
from models.raw_faces import BestAnchors
from models.scrfd import Scrfd
from models.types import DetectParams, UInt8Array
from tests.models.conftest import canvas_of
from tests.tiny_scrfd import CELL, red_block_picture


@pytest.fixture
def session(prepared: Path) -> BucketSession:
    made = ort.InferenceSession(gpu_form(prepared, "fp32"), session_options(1), providers=[CPU])
    return BucketSession(made, CPU, memory=OrdinaryMemory(), rounding=1e-3)


def numbered(count: int) -> UInt8Array:
    """Pictures whose only box lies in the column and row of their number."""
    cells = [(number % 20, number // 20) for number in range(count)]
    return np.stack([red_block_picture(640, 640, {cell: 255}) for cell in cells])


def numbers(answers: list[BestAnchors]) -> list[int]:
    canvas = canvas_of(np.zeros((640, 640, 3), np.uint8))
    found = [postprocess(answer, canvas, DetectParams()).boxes for answer in answers]
    assert [len(boxes) for boxes in found] == [1] * len(answers)
    return [int(boxes[0, 0] // CELL + 20 * (boxes[0, 1] // CELL)) for boxes in found]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 33, 67])
def test_batches_of_any_size_give_one_answer_for_each_picture(session: BucketSession, count: int) -> None:
    assert numbers(session.run(numbered(count))) == list(range(count))
    blob = session.blank(count, 640, 640)
    blob[:] = numbered(count)
    assert numbers(session.run(blob)) == list(range(count))
    assert set(session._buffers) <= set(BUCKETS)


def test_earlier_pictures_behind_a_smaller_batch_are_not_seen(session: BucketSession) -> None:
    session.run(numbered(4))
    assert numbers(session.run(numbered(4)[2:])) == [2, 3]
    assert numbers(session.run(numbered(4)[3:])) == [3]


def test_answers_outlive_later_runs(session: BucketSession) -> None:
    first = session.run(numbered(2))
    for _ in range(BUFFERS):
        session.run(numbered(4)[2:])
    assert numbers(first) == [0, 1]


def test_threads_never_get_each_others_answers(session: BucketSession) -> None:
    pictures = numbered(24)

    def run(start: int) -> list[int]:
        size = 1 + start % 4
        blob = session.blank(size, 640, 640)
        blob[:] = pictures[start : start + size]
        return [number - start for number in numbers(session.run(blob))]

    with ThreadPoolExecutor(4) as pool:
        for index, found in enumerate(pool.map(run, list(range(20)) * 2)):
            assert found == list(range(1 + index % 20 % 4))


def test_every_bucket_is_ready_before_the_first_picture_of_a_service(session: BucketSession) -> None:
    assert set(session._buffers) == {1}
    session.make_ready(640, 640)
    assert set(session._buffers) == set(BUCKETS)
    ids = set()
    for free in session._buffers.values():
        for _ in range(BUFFERS):
            buffers = free.get_nowait()
            ids.add(buffers.options.get_run_config_entry("gpu_graph_id"))
    assert len(ids) == BUFFERS * len(BUCKETS)


def test_a_run_that_fails_gives_its_buffers_back(
    session: BucketSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as broken:
        broken.setattr(session._session, "run_with_iobinding", fail)
        for _ in range(BUFFERS + 1):
            with pytest.raises(InferenceError, match="out of memory"):
                session.run(numbered(1))
        with pytest.raises(InferenceError, match="batches of 2"):
            session.run(numbered(2))
    assert numbers(session.run(numbered(1))) == [0]
    assert numbers(session.run(numbered(2))) == [0, 1]


def test_memory_of_a_smaller_stack_holds_nothing_of_a_larger_one(session: BucketSession) -> None:
    scrfd = Scrfd.__new__(Scrfd)
    scrfd._session = session
    scrfd.stack([canvas_of(np.full((640, 640, 3), 255, np.uint8))] * 2)
    blob = scrfd.stack([canvas_of(np.full((30, 50, 3), 7, np.uint8))])
    assert blob.shape == (1, 640, 640, 3)
    assert (blob[0, :30, :50] == 7).all()
    assert blob.sum() == 7 * 30 * 50 * 3
