"""Runs a stage's blocking work in threads, beside the event loop of its replica."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from deployments.deadline import Deadline
from models.errors import FaceError, InferenceError

T = TypeVar("T")
logger = logging.getLogger("face_api.stage")


class Worker:
    """A few threads for codecs and inference, which release the GIL.

    Errors come back as values: Ray would wrap a raised one, log a traceback for a client's mistake, and
    fail every neighbour of a batch.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(self, work: Callable[[], T], deadline: Deadline | None = None) -> T | FaceError:
        """The result of `work`, or the error it ended with; not started once the deadline passed."""

        def guarded() -> T | FaceError:
            try:
                if deadline is not None:
                    deadline.check()
                return work()
            except FaceError as error:
                return error
            except Exception as error:
                logger.exception("stage failed")
                return InferenceError(f"{type(error).__name__} in a stage of the pipeline")

        return await asyncio.get_running_loop().run_in_executor(self._pool, guarded)
