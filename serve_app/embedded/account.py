"""The system user PostgreSQL runs as. It refuses to run as root, so root lends it another one."""

import json
import logging
import os
import pwd
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from serve_app.embedded.errors import EmbeddedError

USER_FOR_ROOT: Final = "pgserver"
"""The same name the wheel uses."""

logger = logging.getLogger("face_api.embedded")


@dataclass(frozen=True, slots=True)
class Account:
    """User and group of the PostgreSQL processes and of their data."""

    uid: int
    gid: int

    def may_pass(self, folder: Path) -> bool:
        """Whether the permission bits of a folder let this account through it."""
        status = folder.stat()
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == self.gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)


def account_of(data: Path) -> Account:
    """The owner of the data. Where there is none yet: this user, or USER_FOR_ROOT while this user is root.

    Raises:
        EmbeddedError: The data belongs to somebody else, or the user cannot be made.
    """
    owner = data.stat() if data.exists() else None
    if os.geteuid() == 0:
        return Account(owner.st_uid, owner.st_gid) if owner and owner.st_uid else _account_for_root()
    if owner and owner.st_uid != os.geteuid():
        raise EmbeddedError(
            f"{data} belongs to the user {_name_of(owner.st_uid)}; run face-api as that user, "
            "or set FACE_API_DATA_DIR to another folder"
        )
    return Account(os.geteuid(), os.getegid())


def open_way(account: Account, folder: Path) -> None:
    """Let the account pass through the folders above `folder`; it cannot list them.

    Nothing to do for a user's own PostgreSQL. Root's data may lie below /root, which is closed to others.
    """
    for above in folder.parents:
        if not account.may_pass(above):
            above.chmod(above.stat().st_mode | stat.S_IXOTH)
            logger.warning(
                json.dumps({"event": "folder opened for PostgreSQL to pass", "folder": str(above)})
            )


def open_tree(folder: Path) -> None:
    """Let everybody read and run what its owner can: a wheel that root installed may be closed to others."""
    for path in (folder, *folder.rglob("*")):
        mode = path.stat().st_mode
        wanted = mode | (mode & (stat.S_IRUSR | stat.S_IXUSR)) >> 6
        if mode != wanted:
            path.chmod(wanted)


def give(account: Account, folder: Path) -> None:
    """Make the account the owner of a folder of root's and of everything in it."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def _account_for_root() -> Account:
    reason = ""
    try:
        pwd.getpwnam(USER_FOR_ROOT)
    except KeyError:
        reason = _add_user()
    try:
        entry = pwd.getpwnam(USER_FOR_ROOT)
    except KeyError as error:
        raise EmbeddedError(
            f"PostgreSQL does not run as root, and the user {USER_FOR_ROOT} cannot be made ({reason}); "
            "run face-api as another user, or set FACE_API_DATABASE_URL"
        ) from error
    return Account(entry.pw_uid, entry.pw_gid)


def _add_user() -> str:
    """Why it failed, if it did. Another process may have made the user in between: look again afterwards."""
    command = [
        "useradd",
        "--system",
        "--user-group",
        "--no-create-home",
        "--shell",
        "/bin/false",
        USER_FOR_ROOT,
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - constant
    except OSError as error:
        return f"useradd: {error.strerror}"
    return done.stderr.strip()


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
