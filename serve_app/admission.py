"""One upload from its first byte to its result: admitted or refused, timed, dropped when nobody waits."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from starlette.requests import Request
from starlette.types import Receive

from deployments.deadline import Deadline
from deployments.decoding.claim import claimed_pixels
from deployments.errors import DeadlineExceededError, OverloadedError
from models.tiling import most_tiled_pixels
from models.types import Detail
from serve_app.body import BodyStream, ClientDisconnectedError, Upload, read_upload
from serve_app.metrics import REQUESTS_IN_FLIGHT, REQUESTS_IN_FLIGHT_LIMIT
from serve_app.pace import Pace
from serve_app.pixel_budget import PixelBudget
from serve_app.settings import Settings
from serve_app.upload_budget import UploadBudget

T = TypeVar("T")
FULL: Final = "the service is at its limit; try again shortly"
MOST_WAIT: Final = 0.75
"""Share of the deadline: who would wait longer is refused at once. Work that ends too late would be lost."""


@dataclass(frozen=True, slots=True)
class Timed(Generic[T]):
    """A result and how long it took from the last body byte on."""

    value: T
    total_ms: float


class Admission:
    """Bounds the uploads one ingress replica works on."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._in_flight = 0
        self._pixels = PixelBudget(settings.max_pixels_in_flight)
        self._uploads = UploadBudget(settings.max_in_flight * settings.max_upload_bytes)
        self._pace = Pace()
        REQUESTS_IN_FLIGHT_LIMIT.set(settings.max_in_flight)

    async def run(
        self,
        request: Request,
        work: Callable[[Upload, float], Awaitable[T]],
        detail: Detail = "fast",
        fetch: Callable[[], Awaitable[Upload]] | None = None,
    ) -> Timed[T]:
        """Read the upload and give it to `work`, with the seconds left of the deadline.

        A place is taken once the upload is whole: clients that are slow to send theirs keep nobody out.

        Args:
            request: Of the client.
            work: What is done with the upload.
            detail: At `max` the picture's tiles take memory as well.
            fetch: Gets the picture from elsewhere; the request has no body then.

        Raises:
            OverloadedError: Too many are in flight, or it would wait too long; the body was not read.
            UnsupportedFormatError, ImageTooLargeError, ImageDecodeError: By its header; no stage heard of it.
            DeadlineExceededError: The deadline passed.
            ClientDisconnectedError: The client left; the work was cancelled.
        """
        with self._uploads.account() as keep:
            body = BodyStream(request.receive, keep)
            try:
                async with self._deadline() as deadline:
                    self._refuse_if_full()
                    if fetch is None:
                        upload = await read_upload(body, request.headers, self._settings.max_upload_bytes)
                    else:
                        upload = await fetch()
                        keep(len(upload.data))
                    with self._slot():  # before anything else has its turn: the next request must see it
                        work_on = self._timed(upload, work, deadline, detail)
                        return await unless_disconnected(request.receive, work_on)
            finally:
                await body.drain(request.headers)

    async def run_item(
        self,
        read: Callable[[], Awaitable[Upload]],
        work: Callable[[Upload, float], Awaitable[T]],
        detail: Detail,
    ) -> Timed[T]:
        """One picture of a batch, as if it had come alone; its deadline begins now.

        Raises:
            OverloadedError: Too many are in flight, or it would wait too long.
            UnsupportedFormatError, ImageTooLargeError, ImageDecodeError: By its header; no stage heard of it.
            DeadlineExceededError: The deadline passed.
        """
        async with self._deadline() as deadline:
            self._refuse_if_full()
            upload = await read()
            with self._slot():
                return await self._timed(upload, work, deadline, detail)

    async def _timed(
        self,
        upload: Upload,
        work: Callable[[Upload, float], Awaitable[T]],
        deadline: Deadline,
        detail: Detail,
    ) -> Timed[T]:
        started = time.perf_counter()
        pixels = claimed_pixels(upload.data, self._settings.max_image_pixels)
        if detail == "max":
            pixels += most_tiled_pixels(pixels)
        async with self._pixels.hold(pixels):
            value = await work(upload, deadline.left_s)
        return Timed(value, (time.perf_counter() - started) * 1e3)

    @contextlib.asynccontextmanager
    async def _deadline(self) -> AsyncIterator[Deadline]:
        """The time a request has; DeadlineExceededError once it is over."""
        deadline = Deadline.after(self._settings.request_timeout_s)
        try:
            async with asyncio.timeout(deadline.left_s):
                yield deadline
        except TimeoutError as error:
            raise DeadlineExceededError(
                f"no result within {self._settings.request_timeout_s:g} s, the most a request may take"
            ) from error

    @property
    def is_full(self) -> bool:
        """Whether a picture that comes now would be refused."""
        is_too_late = self._pace.wait_s > MOST_WAIT * self._settings.request_timeout_s
        return is_too_late or self._in_flight >= self._settings.max_in_flight

    def _refuse_if_full(self) -> None:
        if self.is_full:
            raise OverloadedError(FULL)

    @contextlib.contextmanager
    def _slot(self) -> Iterator[None]:
        self._refuse_if_full()
        self._in_flight += 1
        REQUESTS_IN_FLIGHT.set(self._in_flight)
        try:
            with self._pace.picture():
                yield
        finally:
            self._in_flight -= 1
            REQUESTS_IN_FLIGHT.set(self._in_flight)


async def unless_disconnected(receive: Receive, work: Awaitable[T]) -> T:
    """The result of `work`; cancelled as soon as the client is gone."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnectedError("the client left")
        return task.result()
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
