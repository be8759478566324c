import asyncio
import threading
import time
from collections.abc import Sequence

import pytest

from deployments.detection.batcher import Batcher
from models.errors import FaceError, InferenceError


class Session:
    """Answers each item with its double; holds batches up while `gate` is closed."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()

    def run(self, items: Sequence[int]) -> list[int | FaceError]:
        with self._lock:
            self.batches.append(list(items))
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        assert self.gate.wait(5)
        with self._lock:
            self.at_once -= 1
        if -1 in items:
            raise InferenceError("broken")
        return [2 * item for item in items]


@pytest.fixture
def session() -> Session:
    return Session()


async def began(session: Session, count: int) -> None:
    async with asyncio.timeout(5):
        while len(session.batches) < count:
            await asyncio.sleep(0.002)


async def test_what_arrives_while_the_session_is_busy_is_the_next_batch(session: Session) -> None:
    batcher: Batcher[int, int] = Batcher(session.run, 1)
    batcher.configure(4, 0.0)
    session.gate.clear()
    asked = [asyncio.create_task(batcher.submit(0))]
    await began(session, 1)
    asked += [asyncio.create_task(batcher.submit(item)) for item in range(1, 7)]
    await asyncio.sleep(0)
    session.gate.set()
    assert await asyncio.gather(*asked) == [2 * item for item in range(7)]
    assert session.batches == [[0], [1, 2, 3, 4], [5, 6]]


async def test_a_lone_item_never_waits_for_company(session: Session) -> None:
    batcher: Batcher[int, int] = Batcher(session.run, 1)
    batcher.configure(16, 30.0)
    async with asyncio.timeout(5):
        for item in range(3):
            assert await batcher.submit(item) == 2 * item
    assert session.batches == [[0], [1], [2]]


async def test_under_load_a_batch_waits_until_it_is_full_or_long_enough(session: Session) -> None:
    batcher: Batcher[int, int] = Batcher(session.run, 1)
    batcher.configure(3, 0.2)
    session.gate.clear()
    first = asyncio.create_task(batcher.submit(0))
    await began(session, 1)
    crowd = [asyncio.create_task(batcher.submit(item)) for item in (1, 2)]
    await asyncio.sleep(0)
    session.gate.set()
    await asyncio.gather(first, *crowd)
    assert session.batches == [[0], [1, 2]]
    started = time.monotonic()
    late = [asyncio.create_task(batcher.submit(3))]
    await asyncio.sleep(0.05)
    late += [asyncio.create_task(batcher.submit(item)) for item in (4, 5)]
    await asyncio.gather(*late)  # full: no need to wait out the 0.2 s
    assert session.batches[2:] == [[3, 4, 5]]
    assert await batcher.submit(6) == 12  # waits in vain, then runs alone
    assert time.monotonic() - started >= 0.2
    assert session.batches[3:] == [[6]]


async def test_several_workers_run_batches_at_once(session: Session) -> None:
    batcher: Batcher[int, int] = Batcher(session.run, 3)
    session.gate.clear()
    asked = [asyncio.create_task(batcher.submit(item)) for item in range(10)]
    await began(session, 3)
    session.gate.set()
    assert await asyncio.gather(*asked) == [2 * item for item in range(10)]
    assert session.most_at_once == 3


async def test_who_left_before_its_batch_began_takes_no_part(session: Session) -> None:
    batcher: Batcher[int, int] = Batcher(session.run, 1)
    batcher.configure(8, 0.0)
    session.gate.clear()
    first = asyncio.create_task(batcher.submit(0))
    await began(session, 1)
    left, stayed = (asyncio.create_task(batcher.submit(item)) for item in (1, 2))
    await asyncio.sleep(0)
    left.cancel()
    first.cancel()  # its batch runs already: the worker goes on
    await asyncio.sleep(0)
    session.gate.set()
    assert await stayed == 4
    assert session.batches == [[0], [2]]


async def test_a_batch_that_fails_is_an_error_for_each_of_it_and_nobody_else(session: Session) -> None:
    batcher: Batcher[int, int] = Batcher(session.run, 1)
    batcher.configure(2, 0.0)
    session.gate.clear()
    asked = [asyncio.create_task(batcher.submit(0))]
    await began(session, 1)
    asked += [asyncio.create_task(batcher.submit(item)) for item in (-1, 3, 4)]
    await asyncio.sleep(0)
    session.gate.set()
    answers = await asyncio.gather(*asked)
    assert [isinstance(answer, InferenceError) for answer in answers] == [False, True, True, False]
    assert answers[3] == 8
