import asyncio
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest

from deployments.errors import OverloadedError
from serve_app.database import DatabaseUnavailableError
from serve_app.repositories.api_keys import KnownKey
from serve_app.services import api_keys
from serve_app.services.api_keys import KeyCache, has_key_form, hash_key, new_key

GRACE_S = 600.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Store:
    """Keys in a dictionary; counts its queries, can be away, can be slow."""

    def __init__(self) -> None:
        self.keys: dict[bytes, KnownKey] = {}
        self.queries: list[int] = []
        self.is_away = False
        self.gate: asyncio.Event | None = None

    def add(self, key: str, *, is_active: bool = True) -> UUID:
        key_id = uuid4()
        self.keys[hash_key(key)] = KnownKey(key_id, is_active)
        return key_id

    async def known(self, hashes: Sequence[bytes]) -> dict[bytes, KnownKey]:
        self.queries.append(len(hashes))
        answer = {key_hash: self.keys[key_hash] for key_hash in hashes if key_hash in self.keys}
        if self.gate is not None:
            await self.gate.wait()
        if self.is_away:
            raise DatabaseUnavailableError("away")
        return answer


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def cache(store: Store, clock: Clock) -> KeyCache:
    cache = KeyCache(store, GRACE_S, clock)
    cache.listen_state(hears_changes=True, is_away=False)
    return cache


async def test_a_key_that_was_seen_does_not_wait_for_a_slow_database(
    cache: KeyCache, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.services.api_keys.PATIENCE_S", 0.01)
    seen, new = new_key(), new_key()
    key_id = store.add(seen)
    store.add(new)
    assert (await cache.find(seen)) == KnownKey(key_id, is_active=True)
    cache.forget(None)
    store.gate = asyncio.Event()
    for _ in range(3):
        assert (await cache.find(seen)) == KnownKey(key_id, is_active=True)
    assert store.queries == [1, 1]  # the others did not even ask
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await cache.find(new)
    clock.now += GRACE_S + 1
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await cache.find(seen)
    store.gate.set()


@pytest.mark.parametrize(
    "text", ["", "xyl_", "xyl_" + "0" * 47, "xyl_" + "0" * 49, "xyl_" + "G" * 48, "XYL_" + "0" * 48, "é" * 52]
)
def test_only_the_form_of_a_key_is_looked_up(text: str) -> None:
    assert not has_key_form(text)
    assert has_key_form(new_key())


async def test_a_key_that_was_seen_costs_no_query(cache: KeyCache, store: Store) -> None:
    key = new_key()
    store.add(key)
    for _ in range(100):
        found = await cache.find(key)
        assert found is not None
    assert store.queries == [1]


async def test_an_unknown_key_is_remembered_until_keys_change(cache: KeyCache, store: Store) -> None:
    key = new_key()
    assert await cache.find(key) is None
    assert await cache.find(key) is None
    assert store.queries == [1]
    cache.forget(store.add(key))
    assert await cache.find(key) is not None


async def test_callers_of_one_key_share_a_query_and_guesses_wait_for_one_at_a_time(
    cache: KeyCache, store: Store
) -> None:
    store.gate = asyncio.Event()
    key = new_key()
    store.add(key)
    first = [asyncio.create_task(cache.find(key)) for _ in range(50)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    guesses = [asyncio.create_task(cache.find(new_key())) for _ in range(200)]
    await asyncio.sleep(0.01)
    store.gate.set()
    assert all(await asyncio.gather(*first))
    assert not any(await asyncio.gather(*guesses))
    assert store.queries == [1, 200]


async def test_too_many_guesses_at_once_are_refused(
    cache: KeyCache, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_keys, "MOST_WAITING", 10)
    store.gate = asyncio.Event()
    tasks = [asyncio.create_task(cache.find(new_key())) for _ in range(40)]
    await asyncio.sleep(0.01)
    store.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    refused = [result for result in results if isinstance(result, OverloadedError)]
    assert 20 <= len(refused) <= 30
    assert set(results) - set(refused) == {None}


async def test_a_revoked_key_is_asked_again_at_once(cache: KeyCache, store: Store) -> None:
    key = new_key()
    key_id = store.add(key)
    await cache.find(key)
    store.keys[hash_key(key)] = KnownKey(key_id, is_active=False)
    cache.forget(key_id)
    found = await cache.find(key)
    assert found is not None
    assert not found.is_active


async def test_a_change_heard_of_during_a_query_is_not_overwritten_by_its_answer(
    cache: KeyCache, store: Store
) -> None:
    key = new_key()
    key_id = store.add(key)
    store.gate = asyncio.Event()
    asking = asyncio.create_task(cache.find(key))
    await asyncio.sleep(0.01)
    store.keys[hash_key(key)] = KnownKey(key_id, is_active=False)
    cache.forget(key_id)
    store.gate.set()
    await asking
    found = await cache.find(key)
    assert found is not None
    assert not found.is_active


async def test_a_deaf_replica_asks_again_within_five_seconds(
    cache: KeyCache, store: Store, clock: Clock
) -> None:
    key = new_key()
    key_id = store.add(key)
    await cache.find(key)
    cache.listen_state(hears_changes=False, is_away=False)
    store.keys[hash_key(key)] = KnownKey(key_id, is_active=False)
    clock.now += 4.9
    found = await cache.find(key)
    assert found is not None
    assert not found.is_active


async def test_seen_keys_outlive_the_database_by_the_grace_and_new_ones_do_not(
    cache: KeyCache, store: Store, clock: Clock
) -> None:
    key = new_key()
    store.add(key)
    await cache.find(key)
    store.is_away = True
    cache.listen_state(hears_changes=False, is_away=True)
    clock.now += GRACE_S - 1
    assert await cache.find(key) is not None
    assert store.queries == [1]  # an outage that is known costs no time-outs
    with pytest.raises(DatabaseUnavailableError):
        await cache.find(new_key())
    clock.now += 2
    with pytest.raises(DatabaseUnavailableError):
        await cache.find(key)


async def test_everything_is_asked_again_once_changes_are_heard_of_again(
    cache: KeyCache, store: Store
) -> None:
    key = new_key()
    key_id = store.add(key)
    await cache.find(key)
    cache.listen_state(hears_changes=False, is_away=True)
    store.keys[hash_key(key)] = KnownKey(key_id, is_active=False)
    cache.listen_state(hears_changes=True, is_away=False)
    found = await cache.find(key)
    assert found is not None
    assert not found.is_active


async def test_a_caller_that_leaves_takes_nobody_with_it(cache: KeyCache, store: Store) -> None:
    key = new_key()
    store.add(key)
    store.gate = asyncio.Event()
    leaving, staying = (asyncio.create_task(cache.find(key)) for _ in range(2))
    await asyncio.sleep(0.01)
    leaving.cancel()
    store.gate.set()
    assert await staying is not None


async def test_memory_is_bounded(cache: KeyCache, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "MOST_KNOWN", 10)
    monkeypatch.setattr(api_keys, "MOST_UNKNOWN", 10)
    for _ in range(50):
        key = new_key()
        store.add(key)
        await cache.find(key)
        await cache.find(new_key())
    assert len(cache._known) == len(cache._unknown) == len(cache._hash_by_id) == 10
