"""What a server writes to standard error: kept in one small file, and quoted when it does not start."""

import os
import re
from pathlib import Path
from typing import IO, Final

MAX_BYTES: Final = 8 * 2**20
TAIL_BYTES: Final = 64 * 2**10
FAILURE: Final = re.compile(r"\b(?:FATAL|PANIC|ERROR|error):\s+(.*)")
"""A line of the server, or of initdb, that says what failed."""


class ServerLog:
    """The log file. The server appends to it, so it can be cut while it runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._from_byte = 0

    def open(self) -> IO[bytes]:
        """For a process to append to. Values of rows may get in, so only the owner reads it."""
        return os.fdopen(os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")

    def mark(self) -> None:
        """Later words are of what starts now."""
        self._from_byte = self.path.stat().st_size if self.path.exists() else 0

    def keep_small(self) -> None:
        """Drop everything once it is over MAX_BYTES."""
        if self.path.exists() and self.path.stat().st_size > MAX_BYTES:
            os.truncate(self.path, 0)
            self._from_byte = 0

    def last_words(self) -> str:
        """The last failure since `mark`, else the last line, as part of a sentence."""
        if not self.path.exists():
            return "it said nothing"
        with self.path.open("rb") as file:
            file.seek(max(self._from_byte, self.path.stat().st_size - TAIL_BYTES))
            lines = file.read().decode(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        failures = [found[1] for line in said if (found := FAILURE.search(line))]
        return (failures or said or ["it said nothing"])[-1].rstrip(".")
