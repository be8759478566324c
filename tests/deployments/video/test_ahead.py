import threading
from collections.abc import Generator

import pytest

from deployments.video.ahead import ahead


def counted(seen: list[int], count: int) -> Generator[int]:
    try:
        for number in range(count):
            seen.append(number)
            yield number
    finally:
        seen.append(-1)


def test_items_keep_their_order() -> None:
    assert list(ahead(ahead(counted([], 100), 3), 3)) == list(range(100))


def test_no_more_than_that_many_are_made_before_they_are_asked_for() -> None:
    seen: list[int] = []
    items = ahead(counted(seen, 100), 4)
    assert next(items) == 0
    items.close()
    assert len(seen) - 1 <= 1 + 4 + 1  # the one taken, those waiting, the one in hand
    assert seen[-1] == -1


def test_an_error_arrives_where_items_are_asked_for() -> None:
    def failing() -> Generator[int]:
        yield 1
        raise ValueError("broke")

    items = ahead(failing(), 4)
    assert next(items) == 1
    with pytest.raises(ValueError, match="broke"):
        next(items)


def test_closing_ends_every_thread_of_a_chain() -> None:
    before = threading.active_count()
    seen: list[int] = []
    items = ahead(ahead(counted(seen, 1000), 2), 2)
    next(items)
    items.close()
    assert threading.active_count() == before
    assert seen[-1] == -1
