"""Collects what waits for the session into batches, without making anybody wait for company."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, TypeVar

from deployments.metrics import BATCH_SIZE, WAITING
from deployments.worker import Worker
from models.errors import FaceError

T = TypeVar("T")
R = TypeVar("R")


class Batcher(Generic[T, R]):
    """Batches form by themselves: what arrives while every worker is busy goes into the next one.

    A lone item therefore runs at once. Under load, a batch that is not full may wait a little for more, once
    the one before it held several: then more are on their way.
    """

    def __init__(self, run: Callable[[Sequence[T]], Sequence[R | FaceError]], workers: int) -> None:
        """Prepare.

        Args:
            run: Works on one batch in a thread; the answers are in the order of the items.
            workers: Batches at once, at least 1.
        """
        self._run = run
        self._worker = Worker(workers, "batch")
        self._idle = workers
        self._waiting: deque[tuple[T, asyncio.Future[R | FaceError]]] = deque()
        self._arrived = asyncio.Event()
        self._last_size = 0
        self._max_size, self._wait_s = 1, 0.0
        self._working: set[asyncio.Task[None]] = set()

    def configure(self, max_size: int, wait_s: float) -> None:
        """Apply to batches from now on.

        Args:
            max_size: Most items of a batch, at least 1.
            wait_s: Longest wait for a batch to fill, see above.
        """
        self._max_size, self._wait_s = max_size, wait_s

    @property
    def max_size(self) -> int:
        """Most items of a batch."""
        return self._max_size

    async def submit(self, item: T) -> R | FaceError:
        """The answer to one item; cancelled before its batch began, it takes no part."""
        future: asyncio.Future[R | FaceError] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        WAITING.set(len(self._waiting), "Detector")
        self._arrived.set()
        if self._idle:
            self._idle -= 1
            task = asyncio.create_task(self._work())
            self._working.add(task)
            task.add_done_callback(self._working.discard)
        return await future

    async def _work(self) -> None:
        """Run batches until nothing waits."""
        try:
            while self._waiting:
                if self._wait_s > 0 and self._last_size > 1:
                    await self._fill()
                batch = self._take()
                if not batch:
                    continue
                answers = await self._worker.run(partial(self._run, [item for item, _ in batch]))
                if isinstance(answers, FaceError):
                    answers = [answers] * len(batch)
                for (_, future), answer in zip(batch, answers, strict=True):
                    if not future.done():
                        future.set_result(answer)
        finally:
            self._idle += 1

    async def _fill(self) -> None:
        """Wait until a batch is full, or long enough."""
        try:
            async with asyncio.timeout(self._wait_s):
                while len(self._waiting) < self._max_size:
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            pass

    def _take(self) -> list[tuple[T, asyncio.Future[R | FaceError]]]:
        batch: list[tuple[T, asyncio.Future[R | FaceError]]] = []
        while self._waiting and len(batch) < self._max_size:
            item, future = self._waiting.popleft()
            if not future.done():  # its caller left
                batch.append((item, future))
        self._last_size = len(batch)
        WAITING.set(len(self._waiting), "Detector")
        if batch:
            BATCH_SIZE.observe(len(batch))
        return batch
