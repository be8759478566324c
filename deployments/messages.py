"""A stream of pickled tuples between processes of this user, each behind its length."""

import asyncio
import pickle
import struct
from typing import Any, Final, cast

HEADER: Final = struct.Struct("<I")


class Messages(asyncio.Protocol):
    """Splits a stream into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's have a base class of their own

    def data_received(self, data: bytes) -> None:
        """Call `received` with each message that is whole."""
        buffer = self._buffer
        buffer += data
        start, size = 0, len(buffer)
        while size - start >= HEADER.size:
            end = start + HEADER.size + HEADER.unpack_from(buffer, start)[0]
            if end > size:
                break
            message = pickle.loads(memoryview(buffer)[start + HEADER.size : end])  # noqa: S301 - our own processes
            start = end
            self.received(message)
        del buffer[:start]

    def received(self, message: tuple[Any, ...]) -> None:
        """One message."""
        raise NotImplementedError

    def send(self, message: tuple[object, ...]) -> bool:
        """Send a message; False when the other side is gone."""
        if self._transport is None or self._transport.is_closing():
            return False
        payload = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        self._transport.write(HEADER.pack(len(payload)) + payload)
        return True

    def close(self) -> None:
        """Close the connection once everything was sent."""
        if self._transport is not None:
            self._transport.close()
