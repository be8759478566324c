"""One upload from its first byte to its result: admitted or refused, timed, dropped when nobody waits."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

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
DRAIN_BYTES = 64 * 2**20
DRAIN_S = 2.0
MOST_WAIT = 0.75
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
        deadline = Deadline.after(self._settings.request_timeout_s)
        with self._uploads.account() as keep:
            body = BodyStream(request.receive, keep)
            try:
                async with asyncio.timeout(deadline.left_s):
                    self._refuse_if_full()
                    if fetch is None:
                        upload = await read_upload(body, request.headers, self._settings.max_upload_bytes)
                    else:
                        upload = await fetch()
                        keep(len(upload.data))
                    started = time.perf_counter()
                    pixels = claimed_pixels(upload.data, self._settings.max_image_pixels)
                    if detail == "max":
                        pixels += most_tiled_pixels(pixels)
                    with self._slot():
                        within_budget = self._within_budget(pixels, lambda: work(upload, deadline.left_s))
                        value = await _unless_disconnected(request.receive, within_budget)
                    return Timed(value, (time.perf_counter() - started) * 1e3)
            except TimeoutError as error:
                raise DeadlineExceededError(
                    f"no result within {self._settings.request_timeout_s:g} s, the most a request may take"
                ) from error
            finally:
                if body.began or request.headers.get("expect", "").lower() != "100-continue":
                    await _drain(body)  # else its client waits to hear whether to send it

    async def _within_budget(self, pixels: int, work: Callable[[], Awaitable[T]]) -> T:
        with self._pace.picture():
            async with self._pixels.hold(pixels):
                return await work()

    def _refuse_if_full(self) -> None:
        is_too_late = self._pace.wait_s > MOST_WAIT * self._settings.request_timeout_s
        if is_too_late or self._in_flight >= self._settings.max_in_flight:
            raise OverloadedError("the service is at its limit; try again shortly")

    @contextlib.contextmanager
    def _slot(self) -> Iterator[None]:
        self._refuse_if_full()
        self._in_flight += 1
        REQUESTS_IN_FLIGHT.set(self._in_flight)
        try:
            yield
        finally:
            self._in_flight -= 1
            REQUESTS_IN_FLIGHT.set(self._in_flight)


async def _unless_disconnected(receive: Receive, work: Awaitable[T]) -> T:
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


async def _drain(body: BodyStream) -> None:
    """Read on for a moment after a refusal: a client that is still sending would not see the answer."""
    size = 0
    with contextlib.suppress(TimeoutError, ClientDisconnectedError):
        async with asyncio.timeout(DRAIN_S):
            while not body.ended and size < DRAIN_BYTES:
                size += len(await body.skip())
