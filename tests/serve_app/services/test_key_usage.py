from collections.abc import Mapping
from uuid import UUID, uuid4

import pytest

from serve_app.database import DatabaseUnavailableError
from serve_app.repositories.api_keys import KeyUse
from serve_app.services.key_usage import KeyUsage


class Store:
    """Adds as the database does: a number that was written is not written again."""

    def __init__(self) -> None:
        self.totals: dict[UUID, int] = {}
        self.numbers: dict[UUID, int] = {}
        self.calls = 0
        self.fails = "no"

    async def add_uses(self, uses: Mapping[UUID, KeyUse], replica_id: UUID, number: int) -> None:
        self.calls += 1
        if self.fails == "before":
            raise DatabaseUnavailableError("away")
        if self.numbers.get(replica_id, 0) < number:
            self.numbers[replica_id] = number
            for key_id, use in uses.items():
                self.totals[key_id] = self.totals.get(key_id, 0) + use.requests
        if self.fails == "after":
            raise DatabaseUnavailableError("lost the answer")


async def test_many_requests_are_one_statement() -> None:
    store, key_id = Store(), uuid4()
    usage = KeyUsage(store)
    for _ in range(1000):
        usage.add(key_id)
    await usage.flush()
    await usage.flush()
    assert store.totals == {key_id: 1000}
    assert store.calls == 1


@pytest.mark.parametrize("fails", ["before", "after"])
async def test_a_failed_flush_is_repeated_and_nothing_counts_twice(fails: str) -> None:
    store, key_id = Store(), uuid4()
    usage = KeyUsage(store)
    usage.add(key_id)
    store.fails = fails
    for _ in range(3):
        with pytest.raises(DatabaseUnavailableError):
            await usage.flush()
        usage.add(key_id)
    store.fails = "no"
    await usage.close()
    assert store.totals == {key_id: 4}


async def test_what_cannot_be_written_at_the_end_is_said(caplog: pytest.LogCaptureFixture) -> None:
    store = Store()
    usage = KeyUsage(store)
    store.fails = "before"
    usage.add(uuid4())
    await usage.close()
    assert '"requests": 1' in caplog.text
