"""The connections of one HTTP server: how many there may be, and for how long without a reason."""

import asyncio
import resource
from typing import Any, Final

from serve_app.http_protocol import EnvelopeProtocol
from serve_app.refusal import Refusal

MOST: Final = 16_384
SHARE_OF_DESCRIPTORS: Final = 0.5
"""The rest is for pictures in memory, stages and the database."""
MOST_UNTAKEN_BYTES: Final = 2**30
"""Of all answers that clients have not taken yet. Beyond it, those that are taken slowest are given up."""
TICK_S: Final = 1.0
PARTS: Final = 20
"""Looking at 10,000 connections at once, and closing a tenth of them, would keep requests waiting."""
CLOSED_AT_ONCE: Final = 20
"""One in so many connections makes room when there is none: finding them takes a pass over all."""

TOO_MANY: Final = Refusal(503, "too_many_connections", "too many connections are open; try again shortly")


class Crowd:
    """Looks at every connection each second, and makes room for new ones."""

    def __init__(self, connections: set[Any], most: int) -> None:
        """Nobody is looked at before `watch`.

        Args:
            connections: Of the server, as uvicorn keeps them.
            most: At once. One more closes those that have waited longest for a request; where there are
                none, it is not let in.
        """
        self._connections = connections
        self._most = most
        self._places = 0  # that may be taken before the connections are counted again
        self._is_full = False

    def lets_in(self) -> bool:
        """Whether there is room for one more, or could be made."""
        if self._places <= 0 and not self._is_full:
            self._places = self._most - len(self._connections)
            if self._places <= 0:
                self._places = self._close_spare()
            self._is_full = self._places <= 0
        self._places -= 1
        return not self._is_full

    async def watch(self) -> None:
        """Let time pass for every connection, a part of them after the other. Never ends."""
        while True:
            protocols = self._protocols()
            self._places, self._is_full = 0, False
            for part in range(PARTS):
                await asyncio.sleep(TICK_S / PARTS)
                for connection in protocols[part::PARTS]:
                    if connection in self._connections:
                        connection.pass_time(TICK_S)
            self._free_answers()

    def _free_answers(self) -> None:
        """End those that have been taken longest while all of them take too much memory."""
        untaken = [connection for connection in self._protocols() if connection.untaken_bytes]
        total = sum(connection.untaken_bytes for connection in untaken)
        untaken.sort(key=lambda connection: connection.taking_s)
        while total > MOST_UNTAKEN_BYTES:
            connection = untaken.pop()
            total -= connection.untaken_bytes
            connection.give_up_answer()

    def _close_spare(self) -> int:
        spare = [connection for connection in self._protocols() if connection.is_spare]
        spare.sort(key=lambda connection: connection.waited_s, reverse=True)
        chosen = spare[: max(1, self._most // CLOSED_AT_ONCE)]
        for connection in chosen:
            connection.transport.close()
        return len(chosen)

    def _protocols(self) -> list[EnvelopeProtocol]:
        return [it for it in self._connections if isinstance(it, EnvelopeProtocol)]


def most_connections() -> int:
    """As many as this process's file descriptors allow."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if soft == resource.RLIM_INFINITY else min(MOST, int(soft * SHARE_OF_DESCRIPTORS))
