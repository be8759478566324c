"""One request, whatever becomes of it: an answer, an honest refusal, or a connection that broke."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

BROKEN: Final = 0
"""In place of a status: no answer came, because the connection was refused, reset, or silent for too long."""
PATIENCE_S: Final = 90.0
POISONED: Final = "ended the decoder"
"""In the refusal of a picture that was in a decoder each time one was killed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request."""

    sent_s: float  # time.monotonic()
    ended_s: float
    status: int  # or BROKEN
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    broke: str = ""  # the name of the exception

    @property
    def seconds(self) -> float:
        """From its sending to its last byte."""
        return self.ended_s - self.sent_s

    @property
    def is_honest_failure(self) -> bool:
        """Whether it says in the service's own words that nothing was done, and when to come again."""
        if self.status == BROKEN:
            return True
        detail = self.detail()
        if detail is None:
            return False
        if self.status == 503:
            return self.headers.get("Retry-After", "").isdigit()
        return self.status == 504 or (self.status == 400 and POISONED in detail)

    @property
    def label(self) -> str:
        """For counting."""
        return self.broke or str(self.status)

    def json(self) -> Any:  # noqa: ANN401 - any JSON
        """The body."""
        return json.loads(self.body)

    @property
    def image_id(self) -> str | None:
        """Where the picture was stored; None when it was not to be, storing took too long, or it failed."""
        if self.status != 200:
            return None
        if self.headers.get("Content-Type", "").startswith("application/json"):
            image_id: str | None = self.json()["image_id"]
            return image_id
        return self.headers.get("X-Image-Id")

    def detail(self) -> str | None:
        """Of the envelope of errors; None when the body is none."""
        try:
            said = self.json()
        except ValueError:
            return None
        is_envelope = isinstance(said, dict) and set(said) == {"detail"}
        return said["detail"] if is_envelope and isinstance(said["detail"], str) else None


@asynccontextmanager
async def client(
    url: str, headers: Mapping[str, str], *, keep_alive: bool = True
) -> AsyncIterator[aiohttp.ClientSession]:
    """As many connections as there are requests at once."""
    connector = aiohttp.TCPConnector(limit=0, force_close=not keep_alive)
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with aiohttp.ClientSession(url, connector=connector, timeout=timeout, headers=headers) as session:
        yield session


async def post(
    session: aiohttp.ClientSession, path: str, body: bytes, query: Mapping[str, str] | None = None
) -> Answer:
    """Send a JPEG and wait."""
    sent_s = time.monotonic()
    headers = {"Content-Type": "image/jpeg"}
    try:
        async with session.post(path, data=body, params=query, headers=headers) as response:
            answer = await response.read()
    except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError) as error:
        return Answer(sent_s, time.monotonic(), BROKEN, broke=type(error).__name__)
    return Answer(sent_s, time.monotonic(), response.status, answer, response.headers)
