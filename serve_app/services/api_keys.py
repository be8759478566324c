"""API keys: what one looks like, and which are known, from memory wherever possible."""

import asyncio
import hashlib
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from deployments.errors import OverloadedError
from serve_app.database import DatabaseUnavailableError
from serve_app.metrics import KEY_CHANGES_HEARD, KEY_LOOKUPS
from serve_app.repositories.api_keys import ApiKey, ApiKeyRepository, KnownKey

KEY_PREFIX: Final = "xyl_"
KEY_BYTES: Final = 24
SHOWN_PREFIX: Final = 11
SHOWN_SUFFIX: Final = 8
FRESH_S: Final = 300.0
"""How long a key is believed while changes are heard of."""
DEAF_FRESH_S: Final = 3.0
"""The same while changes are not heard of: a revoked key must stop within 5 s."""
UNKNOWN_FRESH_S: Final = 60.0
UNCHECKED: Final = "the API key could not be checked; try again shortly"
PATIENCE_S: Final = 0.5
"""A database that takes longer for a key seen within the grace is as good as away, for DEAF_FRESH_S."""
MOST_KNOWN: Final = 200_000
MOST_UNKNOWN: Final = 20_000
MOST_WAITING: Final = 1_000
"""Keys that wait for one query; more are refused."""

_FORM: Final = re.compile(r"xyl_[0-9a-f]{48}")


def new_key() -> str:
    """A key nobody has: `xyl_` and 24 random bytes in hex."""
    return KEY_PREFIX + secrets.token_hex(KEY_BYTES)


def has_key_form(text: str) -> bool:
    """Whether it can be a key at all; nothing else is looked up."""
    return _FORM.fullmatch(text) is not None


def hash_key(key: str) -> bytes:
    """SHA-256. A key has 192 random bits: a slow hash would protect nothing more, and cost each request."""
    return hashlib.sha256(key.encode()).digest()


async def create_key(keys: ApiKeyRepository, name: str, key: str | None = None) -> tuple[ApiKey, str]:
    """Store a new key, and return it whole for the only time."""
    key = key or new_key()
    row = await keys.create(name, hash_key(key), key[:SHOWN_PREFIX], key[-SHOWN_SUFFIX:])
    return row, key


class KnownKeys(Protocol):
    """Where keys are looked up: `repositories.api_keys`."""

    async def known(self, hashes: Sequence[bytes]) -> dict[bytes, KnownKey]:
        """Those of the hashes that belong to a key."""
        ...


@dataclass(slots=True)
class _Entry:
    key: KnownKey
    checked_s: float


class KeyCache:
    """The keys one replica has seen.

    A key that was seen costs no query. All that have to be asked wait for one query at a time, so guessing
    keys costs the database one small query after the other and no more. A change of a key evicts it at once
    (`forget`); while changes are not heard of, keys are asked again every DEAF_FRESH_S; while the database is
    away, those seen within the grace are believed.

    The lookup is by SHA-256, so its time says nothing about how much of a guess was right.
    """

    def __init__(self, keys: KnownKeys, grace_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys = keys
        self._grace_s = grace_s
        self._clock = clock
        self._known: OrderedDict[bytes, _Entry] = OrderedDict()
        self._unknown: OrderedDict[bytes, float] = OrderedDict()
        self._hash_by_id: dict[UUID, bytes] = {}
        self._waiting: dict[bytes, asyncio.Future[KnownKey | None]] = {}
        self._asking: asyncio.Task[None] | None = None
        self._changes = 0
        self._hears_changes = False
        self._is_away = False
        self._slow_until_s = 0.0  # a query was not answered in time; until then the database counts as away

    async def find(self, key: str) -> KnownKey | None:
        """The key, active or revoked; None when there is none like it.

        Raises:
            DatabaseUnavailableError: It was not seen within the grace and cannot be asked now.
            OverloadedError: Too many wait to be asked.
        """
        key_hash = hash_key(key)
        now = self._clock()
        entry = self._known.get(key_hash)
        if entry is not None and now - entry.checked_s < (FRESH_S if self._hears_changes else DEAF_FRESH_S):
            KEY_LOOKUPS.inc("cached")
            return entry.key
        if self._hears_changes and now - self._unknown.get(key_hash, -UNKNOWN_FRESH_S) < UNKNOWN_FRESH_S:
            KEY_LOOKUPS.inc("unknown")
            return None
        may_be_believed = entry is not None and now - entry.checked_s < self._grace_s
        if entry is not None and may_be_believed and (self._is_away or now < self._slow_until_s):
            KEY_LOOKUPS.inc("grace")
            return entry.key
        KEY_LOOKUPS.inc("database")
        try:
            async with asyncio.timeout(PATIENCE_S if may_be_believed else None):
                return await self._ask(key_hash)
        except (DatabaseUnavailableError, TimeoutError) as error:
            entry = self._known.get(key_hash)  # it may have been revoked meanwhile
            if entry is None or not may_be_believed:
                raise DatabaseUnavailableError(UNCHECKED) from error
            self._slow_until_s = self._clock() + DEAF_FRESH_S
            return entry.key

    def forget(self, key_id: UUID | None) -> None:
        """A key was changed, made (then it may be among the unknown ones) or deleted; None: any of them."""
        self._changes += 1
        self._unknown.clear()
        if key_id is None:
            self._slow_until_s = 0.0
            for entry in self._known.values():  # kept for the grace, but asked before it is believed
                entry.checked_s = min(entry.checked_s, self._clock() - FRESH_S)
        elif (key_hash := self._hash_by_id.pop(key_id, None)) is not None:
            self._known.pop(key_hash, None)

    def listen_state(self, *, hears_changes: bool, is_away: bool) -> None:
        """What the listener knows: whether changes are heard of, and whether the database is away."""
        if hears_changes and not self._hears_changes:
            self.forget(None)  # changes may have been missed
        self._hears_changes = hears_changes
        self._is_away = is_away
        KEY_CHANGES_HEARD.set(hears_changes)

    async def _ask(self, key_hash: bytes) -> KnownKey | None:
        waiting = self._waiting.get(key_hash)
        if waiting is None:
            if len(self._waiting) >= MOST_WAITING:
                raise OverloadedError("too many unknown API keys at once; try again shortly")
            waiting = self._waiting[key_hash] = asyncio.get_running_loop().create_future()
            if self._asking is None or self._asking.done():
                self._asking = asyncio.create_task(self._ask_all())
        return await asyncio.shield(waiting)

    async def _ask_all(self) -> None:
        while self._waiting:
            asked, self._waiting = self._waiting, {}
            changes = self._changes
            try:
                found = await self._keys.known(list(asked))
            except BaseException as error:
                reason = (
                    error
                    if isinstance(error, DatabaseUnavailableError)
                    else DatabaseUnavailableError(UNCHECKED)
                )
                for waiting in asked.values():
                    if not waiting.done():
                        waiting.set_exception(reason)
                        waiting.exception()  # a caller that left will not fetch it
                if not isinstance(error, DatabaseUnavailableError):
                    raise
                continue
            for key_hash, waiting in asked.items():
                key = found.get(key_hash)
                if changes == self._changes:  # else the answer may be older than a change heard of since
                    self._remember(key_hash, key)
                if not waiting.done():
                    waiting.set_result(key)

    def _remember(self, key_hash: bytes, key: KnownKey | None) -> None:
        if key is None:
            self._known.pop(key_hash, None)
            if len(self._unknown) >= MOST_UNKNOWN:
                self._unknown.popitem(last=False)
            self._unknown[key_hash] = self._clock()
            return
        if key_hash not in self._known and len(self._known) >= MOST_KNOWN:
            _, oldest = self._known.popitem(last=False)
            self._hash_by_id.pop(oldest.key.id, None)
        self._known[key_hash] = _Entry(key, self._clock())
        self._hash_by_id[key.id] = key_hash
