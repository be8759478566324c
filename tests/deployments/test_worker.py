import asyncio
import logging
import threading

import pytest

from deployments.deadline import Deadline
from deployments.errors import DeadlineExceededError
from deployments.worker import Worker
from models.errors import FaceError, InferenceError


async def test_work_answers_with_its_result() -> None:
    assert await Worker(1, "test").run(lambda: 7) == 7


async def test_an_error_of_ours_comes_back_as_a_value_and_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ours = FaceError("not that picture")

    def work() -> None:
        raise ours

    assert await Worker(1, "test").run(work) is ours
    assert not caplog.records


async def test_any_other_error_is_logged_and_hides_its_message(caplog: pytest.LogCaptureFixture) -> None:
    def work() -> None:
        raise ValueError("/a/path")

    with caplog.at_level(logging.ERROR):
        answer = await Worker(1, "test").run(work)
    assert isinstance(answer, InferenceError)
    assert "/a/path" not in str(answer)
    assert caplog.records[0].exc_info is not None


async def test_work_is_not_started_once_its_deadline_passed() -> None:
    started = []
    answer = await Worker(1, "test").run(lambda: started.append(1), Deadline.after(-1.0))
    assert isinstance(answer, DeadlineExceededError)
    assert started == []


async def test_work_that_was_cancelled_before_its_turn_is_not_started() -> None:
    worker = Worker(1, "test")
    free = threading.Event()
    started = []
    running = asyncio.create_task(worker.run(free.wait))
    waiting = asyncio.create_task(worker.run(lambda: started.append(1)))
    await asyncio.sleep(0)  # both are with the worker
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    free.set()
    assert await running is True
    assert await worker.run(lambda: 7) == 7  # its one thread came past what was cancelled
    assert started == []
