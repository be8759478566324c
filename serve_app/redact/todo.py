"""What is still to be done: the sources, less what the manifest says was done and lies in the target.

In a temporary SQLite file, because a collection may be larger than memory; no part of the service's
database, whose SQL is in `repositories`.
"""

import sqlite3
from collections.abc import Iterator
from typing import Any

from deployments.types import OutputFormat
from serve_app.redact.names import output_name
from serve_app.redact.records import Entry, Record

SCHEMA = """
CREATE TABLE source (name BLOB PRIMARY KEY, size INTEGER, version TEXT, output BLOB) WITHOUT ROWID;
CREATE TABLE done (name BLOB PRIMARY KEY, version TEXT, status TEXT, faces INTEGER, output BLOB, size INTEGER,
    source_size INTEGER)
    WITHOUT ROWID;
CREATE TABLE present (name BLOB PRIMARY KEY, size INTEGER) WITHOUT ROWID;
"""
PENDING = """
CREATE TABLE pending AS
SELECT name, size, version, output <> name AND output IN (SELECT name FROM source) AS is_taken
FROM source
WHERE NOT EXISTS (
    SELECT 1 FROM done
    WHERE done.name = source.name AND done.version = source.version AND done.source_size = source.size
    AND status <> 'failed'
    AND (done.output IS NULL OR EXISTS (
        SELECT 1 FROM present WHERE present.name = done.output AND present.size = done.size))
)
"""


class Todo:
    """Sources, what was done, and what lies in the target; then what is left."""

    def __init__(self, image_format: OutputFormat) -> None:
        self._format: OutputFormat = image_format
        self._database = sqlite3.connect("", isolation_level=None)  # a temporary file of SQLite's own
        self._database.executescript(SCHEMA)
        self._database.execute("BEGIN")

    def close(self) -> None:
        """The file goes."""
        self._database.close()

    def note_source(self, entry: Entry) -> None:
        """The source has it."""
        output = output_name(entry.name, self._format)
        row = (_bytes(entry.name), entry.size_bytes, entry.version, _bytes(output))
        self._database.execute("INSERT OR REPLACE INTO source VALUES (?, ?, ?, ?)", row)

    def note_line(self, line: dict[str, Any]) -> None:
        """An earlier run did it; the last line of a source counts."""
        fields = ("source", "version", "status", "faces", "output", "output_bytes", "size_bytes")
        self._note_done(*(line[name] for name in fields))

    def note_record(self, record: Record) -> None:
        """This run did it."""
        self._note_done(
            record.source,
            record.version,
            record.status,
            record.faces,
            record.output,
            record.output_bytes,
            record.size_bytes,
        )

    def note_output(self, name: str, size_bytes: int) -> None:
        """The target has it."""
        row = (_bytes(name), size_bytes)
        self._database.execute("INSERT OR REPLACE INTO present VALUES (?, ?)", row)

    def find_pending(self) -> int:
        """How many sources are left; call it once all is noted."""
        self._database.execute(PENDING)
        return self._count("SELECT count(*) FROM pending")

    def windows(self, size: int) -> Iterator[list[tuple[Entry, bool]]]:
        """What is left, in lists of at most `size`, and whether another source is called like its output."""
        last = 0
        while rows := self._database.execute(
            "SELECT rowid, name, size, version, is_taken FROM pending WHERE rowid > ? ORDER BY rowid LIMIT ?",
            (last, size),
        ).fetchall():
            last = rows[-1][0]
            yield [(Entry(_text(row[1]), row[2], row[3]), bool(row[4])) for row in rows]

    def totals(self) -> dict[str, int]:
        """Sources by their status, and `faces`; only those that the source still has."""
        rows = self._database.execute(
            "SELECT status, count(*), coalesce(sum(faces), 0) FROM done JOIN source USING (name) "
            "GROUP BY status"
        ).fetchall()
        return {status: count for status, count, _ in rows} | {"faces": sum(row[2] for row in rows)}

    def outputs(self) -> Iterator[str]:
        """Names of all masked pictures."""
        for (name,) in self._database.execute(
            "SELECT output FROM done WHERE output IS NOT NULL ORDER BY output"
        ):
            yield _text(name)

    def _note_done(
        self,
        source: str,
        version: str,
        status: str,
        faces: int | None,
        output: str | None,
        output_bytes: int | None,
        source_bytes: int,
    ) -> None:
        row = (_bytes(source), version, status, faces, output and _bytes(output), output_bytes, source_bytes)
        self._database.execute("INSERT OR REPLACE INTO done VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def _count(self, question: str) -> int:
        count: int = self._database.execute(question).fetchone()[0]
        return count


def _bytes(name: str) -> bytes:
    """A file's name may hold bytes that are no UTF-8; Python keeps them as surrogates."""
    return name.encode("utf-8", "surrogateescape")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
