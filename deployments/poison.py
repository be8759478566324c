"""Pictures that ended a decoder: known again by their digest, and refused for a while.

A codec's crash ends its replica and with it every picture that was being decoded there. Which of them it
was cannot be told, so a picture counts as poison when it was alone, or was there for a second time.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from deployments.errors import ImageDecodeError, StageLostError

STRIKES: Final = 2
REFUSED_S: Final = 600.0
REMEMBERED: Final = 1024  # digests


class Quarantine:
    """What one ingress replica knows of such pictures."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._strikes: OrderedDict[bytes, tuple[int, float]] = OrderedDict()  # digest -> strikes, since when
        self._decoding = 0
        self._begun = 0

    @contextmanager
    def decoding(self, data: bytes) -> Iterator[None]:
        """Around one picture's decoding.

        Raises:
            ImageDecodeError: It ended a decoder before.
        """
        if self._strikes:
            self._check(data)
        self._decoding += 1
        self._begun += 1
        begun, was_first = self._begun, self._decoding == 1
        try:
            yield
        except StageLostError:
            was_alone = was_first and self._begun == begun
            self._strike(data, STRIKES if was_alone else 1)
            raise
        finally:
            self._decoding -= 1

    def _check(self, data: bytes) -> None:
        digest = _digest(data)
        strikes, since_s = self._strikes.get(digest, (0, 0.0))
        if not strikes:
            return
        if self._clock() - since_s >= REFUSED_S:
            del self._strikes[digest]
        elif strikes >= STRIKES:
            raise ImageDecodeError("the picture ended the decoder the last time it was sent; it is refused")

    def _strike(self, data: bytes, strikes: int) -> None:
        digest = _digest(data)
        known, _ = self._strikes.pop(digest, (0, 0.0))
        self._strikes[digest] = (known + strikes, self._clock())
        if len(self._strikes) > REMEMBERED:
            self._strikes.popitem(last=False)


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()
