"""A batch from its body to the last byte of its answer, which begins before its last picture is done."""

import asyncio
import contextlib
import math
from collections.abc import Iterator
from contextlib import aclosing
from typing import Final

from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deployments.errors import DeadlineExceededError, OverloadedError
from serve_app.access import Caller, access_of
from serve_app.admission import Admission, unless_disconnected
from serve_app.batch.answers import make_answer
from serve_app.batch.items import BatchLimits, Item, read_items
from serve_app.batch.work import BatchWork
from serve_app.body import BodyStream, ClientDisconnectedError
from serve_app.errors import note_reason, reason_of
from serve_app.schemas.batch import BatchQuery
from serve_app.services.processing import Processing
from serve_app.settings import Settings

COUNT: Final = "X-Item-Count"


class Batches:
    """Bounds the batches one ingress replica works on: each holds its whole body in memory."""

    def __init__(self, processing: Processing, admission: Admission, settings: Settings) -> None:
        self.processing = processing
        self.admission = admission
        self.limits = BatchLimits(
            settings.batch_max_items, settings.batch_max_bytes, settings.max_upload_bytes
        )
        self.send_timeout_s = settings.request_timeout_s
        uploads = math.ceil(settings.batch_max_bytes / settings.max_upload_bytes)
        self.body_timeout_s = settings.request_timeout_s * max(1, uploads)
        self._most = settings.max_batches_in_flight
        self._in_flight = 0

    @contextlib.contextmanager
    def slot(self) -> Iterator[None]:
        """A place for one batch; raises OverloadedError when there is none."""
        if self._in_flight >= self._most:
            raise OverloadedError(f"{self._most} batches are at work, the most at once; try again shortly")
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1


class BatchResponse(Response):
    """Reads the batch, works on it and answers. What is wrong with it as a whole fails before a byte."""

    def __init__(self, batches: Batches, request: Request, caller: Caller, query: BatchQuery) -> None:
        super().__init__()
        self._batches = batches
        self._request = request
        self._caller = caller
        self._query = query

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer.

        Raises:
            OverloadedError, BodyTooLargeError, UnsupportedBodyError, MalformedBodyError,
            DeadlineExceededError, ClientDisconnectedError: Before anything was sent.
        """
        body = BodyStream(receive)
        try:
            with self._batches.slot():
                items = await self._read(body)
                try:
                    await unless_disconnected(receive, self._answer(items, send))
                except (ClientDisconnectedError, TimeoutError):  # nobody reads on: what was sent has no end
                    note_reason(self._request, reason_of(ClientDisconnectedError()))
        finally:
            await body.drain(self._request.headers)

    async def _read(self, body: BodyStream) -> list[Item]:
        timeout_s = self._batches.body_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                return await read_items(body, self._request.headers, self._batches.limits)
        except TimeoutError as error:
            raise DeadlineExceededError(
                f"the batch had not arrived after {timeout_s:g} s, the most it may take; send smaller ones"
            ) from error

    async def _answer(self, items: list[Item], send: Send) -> None:
        request, query, count = self._request, self._query, len(items)
        request_id = request.scope["state"]["request_id"]
        request.scope["state"]["items"] = count
        more, refusal = await access_of(request).let_in(request, query.task, self._caller, count - 1)
        batches, key_id = self._batches, self._caller.key_id
        work = BatchWork(batches.processing, batches.admission, query, key_id, request_id)
        answer = make_answer(query, request_id)
        headers = [(b"content-type", answer.media_type.encode()), (COUNT.lower().encode(), b"%d" % count)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async with aclosing(work.outcomes(items, 1 + more, refusal)) as outcomes:
            async for outcome in outcomes:
                piece = await asyncio.to_thread(answer.add, outcome)  # tens of milliseconds for large ones
                await self._send(send, piece, more_body=True)
        await self._send(send, answer.end(), more_body=False)

    async def _send(self, send: Send, piece: bytes, *, more_body: bool) -> None:
        """Give a client that does not read as long as a request may take."""
        async with asyncio.timeout(self._batches.send_timeout_s):
            await send({"type": "http.response.body", "body": piece, "more_body": more_body})
