"""Bounds the memory of uploads, however many clients are sending and however slowly they do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deployments.errors import OverloadedError


class UploadBudget:
    """Counts the bytes of every upload from when they arrive until its request has ended."""

    def __init__(self, most: int) -> None:
        """Nothing is held.

        Args:
            most: Bytes at once.
        """
        self._most = most
        self.held = 0

    @contextmanager
    def account(self) -> Iterator[Callable[[int], None]]:
        """Of one upload: a function to be told of more bytes; it raises OverloadedError beyond the bound."""
        held = 0

        def keep(size: int) -> None:
            nonlocal held
            if self.held + size > self._most:
                raise OverloadedError("the service holds as many uploads as it can; try again shortly")
            self.held += size
            held += size

        try:
            yield keep
        finally:
            self.held -= held
