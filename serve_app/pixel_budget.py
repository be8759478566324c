"""Bounds the memory of decoded pictures, which differ in size a thousandfold: counting requests would not."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class PixelBudget:
    """Lets pictures into the stages, in the order they came, while their pixels together stay below a bound.

    What waits holds its upload only. A picture larger than the whole budget goes when it is alone.
    """

    def __init__(self, most: int) -> None:
        """Nothing is in flight.

        Args:
            most: Pixels at once.
        """
        self._most = most
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self.in_flight = 0

    @asynccontextmanager
    async def hold(self, pixels: int) -> AsyncIterator[None]:
        """Wait for room, then keep it. Whoever is cancelled while waiting leaves the queue."""
        pixels = min(pixels, self._most)
        await self._acquire(pixels)
        try:
            yield
        finally:
            self.in_flight -= pixels
            self._admit()

    async def _acquire(self, pixels: int) -> None:
        if not self._waiting and self.in_flight + pixels <= self._most:
            self.in_flight += pixels
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((pixels, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # admitted, and cancelled in the same moment
                self.in_flight -= pixels
            else:
                self._waiting.remove((pixels, turn))
            self._admit()  # it may have been what the next one waited for
            raise

    def _admit(self) -> None:
        while self._waiting and self.in_flight + self._waiting[0][0] <= self._most:
            pixels, turn = self._waiting.popleft()
            if not turn.done():
                self.in_flight += pixels
                turn.set_result(None)
