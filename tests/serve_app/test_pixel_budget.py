import asyncio
from contextlib import AsyncExitStack

import pytest

from serve_app.pixel_budget import PixelBudget


class Pictures:
    """Pictures that hold their place until they are let go."""

    def __init__(self, budget: PixelBudget) -> None:
        self._budget = budget
        self.inside: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._ends: dict[str, asyncio.Event] = {}

    async def come(self, name: str, pixels: int) -> None:
        self._ends[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._stay(name, pixels))
        await asyncio.sleep(0)

    async def go(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()
        await asyncio.gather(*(self.tasks[name] for name in names))
        await asyncio.sleep(0)

    async def leave(self, name: str) -> None:
        self.tasks[name].cancel()
        await asyncio.gather(self.tasks[name], return_exceptions=True)
        await asyncio.sleep(0)

    async def _stay(self, name: str, pixels: int) -> None:
        async with self._budget.hold(pixels):
            self.inside.append(name)
            try:
                await self._ends[name].wait()
            finally:
                self.inside.remove(name)


async def test_pictures_wait_in_order_once_the_budget_is_full() -> None:
    budget = PixelBudget(100)
    pictures = Pictures(budget)
    for name, pixels in (("a", 60), ("b", 60), ("c", 30)):
        await pictures.come(name, pixels)
    assert pictures.inside == ["a"]  # c would fit, but b was first
    assert budget.in_flight == 60
    await pictures.go("a")
    assert pictures.inside == ["b", "c"]
    await pictures.go("b", "c")
    assert budget.in_flight == 0


async def test_a_picture_larger_than_the_budget_goes_alone() -> None:
    pictures = Pictures(PixelBudget(100))
    await pictures.come("small", 1)
    await pictures.come("huge", 500)
    assert pictures.inside == ["small"]
    await pictures.go("small")
    assert pictures.inside == ["huge"]
    await pictures.come("next", 1)
    assert pictures.inside == ["huge"]
    await pictures.go("huge", "next")


async def test_whoever_leaves_the_queue_lets_the_next_ones_through() -> None:
    budget = PixelBudget(100)
    pictures = Pictures(budget)
    for name, pixels in (("a", 60), ("b", 60), ("c", 30)):
        await pictures.come(name, pixels)
    await pictures.leave("b")
    assert pictures.inside == ["a", "c"]
    await pictures.leave("a")
    await pictures.go("c")
    assert budget.in_flight == 0


async def test_whoever_is_cancelled_in_the_moment_of_admission_gives_the_room_back() -> None:
    budget = PixelBudget(100)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(budget.hold(100))
        waiting = asyncio.create_task(budget.hold(50).__aenter__())
        await asyncio.sleep(0)
    waiting.cancel()  # it has been admitted, but has not run yet
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert budget.in_flight == 0
