"""Work that goes on while the next step is busy."""

import contextlib
from collections.abc import Generator
from dataclasses import dataclass
from queue import Full, Queue
from threading import Event, Thread
from typing import Final, TypeVar

T = TypeVar("T")
PATIENCE_S: Final = 0.1
"""How soon a thread sees that nobody wants its items any more."""


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None


def ahead(items: Generator[T], most: int) -> Generator[T]:
    """The same items, made in a thread of their own, at most so many before they are asked for.

    What the thread raises is raised here. Closed early, it waits until `items` is closed.
    """
    waiting: Queue[T | _End] = Queue(most)
    is_closed = Event()

    def offer(item: T | _End) -> bool:
        while not is_closed.is_set():
            with contextlib.suppress(Full):
                waiting.put(item, timeout=PATIENCE_S)
                return True
        return False

    def work() -> None:
        try:
            with contextlib.closing(items):
                for item in items:
                    if not offer(item):
                        return
        except BaseException as error:  # raised where items are asked for
            offer(_End(error))
        else:
            offer(_End(None))

    thread = Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item = waiting.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        is_closed.set()
        thread.join()
