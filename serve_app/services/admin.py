"""Who administers: passwords, sessions, lockouts."""

import asyncio
import hashlib
import hmac
import json
import logging
import secrets
from dataclasses import dataclass
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from models.errors import FaceError
from serve_app.repositories.admin import LoginFailureRepository, SessionRepository
from serve_app.retry_later import RetryLaterError

MOST_FAILURES: Final = 10
BLOCK_S: Final = 15 * 60
TOKEN_BYTES: Final = 32
MOST_PASSWORD_CHARACTERS: Final = 1024

logger = logging.getLogger("face_api.admin")


class WrongCredentialsError(FaceError):
    """User name and password do not belong together."""


class LockedOutError(RetryLaterError):
    """Too many failed logins from this address."""


@dataclass(frozen=True, slots=True)
class Admin:
    """Somebody who proved to be the administrator."""

    username: str


class AdminAccounts:
    """The one administrator of the settings, and the sessions they opened."""

    def __init__(
        self,
        username: str,
        password: str,
        session_ttl_s: int,
        sessions: SessionRepository,
        failures: LoginFailureRepository,
    ) -> None:
        """Keep the password, or its argon2 hash, for comparison.

        Args:
            username: Of the administrator.
            password: Plain, or a hash that begins with `$argon2`.
            session_ttl_s: Lifetime of a session.
            sessions: Where sessions are kept.
            failures: Where failed logins are counted.
        """
        self._username = username
        self._is_hash = password.startswith("$argon2")
        self._secret = secrets.token_bytes(32)
        self._password = password if self._is_hash else self._digest(password).hex()
        self._hasher = PasswordHasher()
        self._session_ttl_s = session_ttl_s
        self._sessions = sessions
        self._failures = failures
        self._verifying = asyncio.Lock()
        self._verified: bytes | None = None

    async def check(self, username: str, password: str, address: str) -> Admin:
        """The administrator, when name and password are right.

        Tries are counted before they are looked at, one at a time: ten wrong ones in a row from one address
        block it. Credentials that were right before cost no argon2 again.

        Raises:
            LockedOutError, WrongCredentialsError, DatabaseUnavailableError: See each.
        """
        state = await self._failures.state(address)
        if state.blocked_s > 0:
            raise _locked_out(state.blocked_s)
        given = self._digest(f"{username}\0{password}")
        if self._verified is not None and hmac.compare_digest(given, self._verified):
            if state.failures:
                await self._failures.clear(address)
            return Admin(self._username)
        async with self._verifying:
            if not await self._failures.add(address, MOST_FAILURES, BLOCK_S):
                raise _locked_out((await self._failures.state(address)).blocked_s or BLOCK_S)
            is_user = hmac.compare_digest(self._digest(username), self._digest(self._username))
            if not (await self._matches(password) and is_user):
                logger.warning(json.dumps({"event": "wrong admin credentials", "address": address}))
                raise WrongCredentialsError("user name or password is wrong")
            self._verified = given
            await self._failures.clear(address)
        return Admin(self._username)

    async def refuse_blocked(self, address: str) -> None:
        """Raise LockedOutError while the address is blocked."""
        state = await self._failures.state(address)
        if state.blocked_s > 0:
            raise _locked_out(state.blocked_s)

    async def begin_session(self, username: str, password: str, address: str) -> str:
        """Log in; the token of a new session. Raises as `check` does."""
        admin = await self.check(username, password, address)
        token = secrets.token_urlsafe(TOKEN_BYTES)
        await self._sessions.create(_hash(token), admin.username, self._session_ttl_s)
        return token

    async def of_session(self, token: str) -> Admin | None:
        """Whose session it is; None when it has ended."""
        username = await self._sessions.username(_hash(token))
        return None if username is None else Admin(username)

    async def end_session(self, token: str) -> None:
        """Log out on every replica."""
        await self._sessions.end(_hash(token))

    async def _matches(self, password: str) -> bool:
        if len(password) > MOST_PASSWORD_CHARACTERS:
            return False
        if not self._is_hash:
            return hmac.compare_digest(self._digest(password).hex(), self._password)
        try:
            return await asyncio.to_thread(self._hasher.verify, self._password, password)
        except (VerificationError, InvalidHashError):
            return False

    def _digest(self, text: str) -> bytes:
        """Equal in length for every text, so that comparing tells nothing."""
        return hmac.digest(self._secret, text.encode("utf-8", "surrogatepass"), hashlib.sha256)


def _locked_out(left_s: float) -> LockedOutError:
    minutes = max(1, round(left_s / 60))
    return LockedOutError(f"too many failed logins from this address; try again in {minutes} min", left_s)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
