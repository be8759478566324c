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
PART: Final = 100
"""So many are looked at in one go. After 10,000, and the closing of a tenth of them, requests would wait."""
CLOSED_AT_ONCE: Final = 20
"""So many make room at most when there is none: closing more at once would keep requests waiting."""
SHARE_AT_ONCE: Final = 1 / 20

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
        self._spare: list[EnvelopeProtocol] = []  # when last looked; the last one has waited longest

    def lets_in(self) -> bool:
        """Whether there is room for one more, or could be made."""
        if self._places <= 0 and not self._is_full:
            self._places = self._most - len(self._connections)
            if self._places <= 0:
                self._places = self._make_room()
            self._is_full = self._places <= 0
        self._places -= 1
        return not self._is_full

    async def watch(self) -> None:
        """Let time pass for every connection, a part of them after the other. Never ends."""
        while True:
            protocols = self._protocols()
            self._places, self._is_full = 0, False
            self._spare = []
            parts = 1 + len(protocols) // PART
            for part in range(parts):
                await asyncio.sleep(TICK_S / parts)
                for connection in protocols[part::parts]:
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

    def _make_room(self) -> int:
        """Close some that have waited longest for a request; how many."""
        closed, wanted = 0, max(1, min(CLOSED_AT_ONCE, int(SHARE_AT_ONCE * self._most)))
        if not self._spare:  # all that were found were needed: look again, which takes a pass over all
            self._spare = self._ranked()
        while self._spare and closed < wanted:
            connection = self._spare.pop()
            if connection in self._connections and connection.is_spare:
                connection.transport.close()
                closed += 1
        return closed

    def _ranked(self) -> list[EnvelopeProtocol]:
        spare = [connection for connection in self._protocols() if connection.is_spare]
        return sorted(spare, key=lambda connection: connection.waited_s)

    def _protocols(self) -> list[EnvelopeProtocol]:
        return [it for it in self._connections if isinstance(it, EnvelopeProtocol)]


def most_connections() -> int:
    """As many as this process's file descriptors allow."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if soft == resource.RLIM_INFINITY else min(MOST, int(soft * SHARE_OF_DESCRIPTORS))
