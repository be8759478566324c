import asyncio
from typing import Any

import pytest

from serve_app.ratelimit.deployment import ServeLedger
from serve_app.ratelimit.lease import Grants, Order


class Response:
    def __init__(self, answer: asyncio.Future[Grants]) -> None:
        self.answer = answer
        self.is_cancelled = False

    def __await__(self) -> Any:
        return self.answer.__await__()

    def cancel(self) -> None:
        self.is_cancelled = True


class Handle:
    """Stands for a DeploymentHandle: `handle.take.remote(order)`."""

    def __init__(self) -> None:
        self.response = Response(asyncio.get_running_loop().create_future())

    @property
    def take(self) -> "Handle":
        return self

    def remote(self, order: Order) -> Response:
        assert order == Order("r", (), ())
        return self.response


async def test_the_answer_of_the_limiter_is_handed_on() -> None:
    handle: Any = Handle()
    handle.response.answer.set_result(Grants((), 2))
    assert await ServeLedger(handle).take(Order("r", (), ())) == Grants((), 2)
    assert not handle.response.is_cancelled


async def test_a_call_nobody_waits_for_is_cancelled() -> None:
    handle: Any = Handle()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await ServeLedger(handle).take(Order("r", (), ()))
    assert handle.response.is_cancelled
