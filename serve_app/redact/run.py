"""A redaction from its first file to its last, over whatever pool of workers there is. Knows no Ray."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from deployments.types import MaskParams
from models.types import DetectParams
from serve_app.redact.errors import RedactionError
from serve_app.redact.manifest import Manifest, make_manifest
from serve_app.redact.names import HEADER, LINES
from serve_app.redact.places import ZipFile
from serve_app.redact.records import Entry, Record, Redaction, parameters_of
from serve_app.redact.sources import make_source
from serve_app.redact.todo import Todo
from serve_app.redact.worker import Plan, failed, storage_of
from serve_app.redact.zip_target import forget, pack, unpack

WINDOW: Final = 50_000
"""Sources that are handed to the pool at once: it loads its models anew for each window."""
FLUSH_RECORDS: Final = 256
FLUSH_S: Final = 3.0
"""What ends a run costs the work of so many seconds at most."""
MOST_TROUBLE: Final = 50
"""Sources in a row that a place failed, until the run is given up."""
DEFAULTS: Final = parameters_of(DetectParams(), MaskParams())


class Pool(Protocol):
    """Workers that have a plan."""

    def records(self, entries: Sequence[Entry]) -> Iterator[Record]:
        """What was done to each, as it is done; raises RedactionError when there are no workers."""
        ...


class Watch(Protocol):
    """Who looks on."""

    def begin(self, total: int, left: int) -> None:
        """So many sources there are, and so many are left."""
        ...

    def note(self, record: Record) -> None:
        """One was done."""
        ...


@dataclass(frozen=True, slots=True)
class Totals:
    """What is known of the source's files after a run."""

    masked: int
    faces: int
    skipped: int
    failed: int


def redact(plan: Plan, redaction: Redaction, pool: Pool, watch: Watch) -> Totals:
    """Do what is left to do.

    Raises:
        PlaceError: SOURCE or TARGET cannot be used; nothing was done.
        RedactionError, StorageUnavailableError: It was given up; what was done is kept.
    """
    is_as_before = isinstance(plan.target, ZipFile) and unpack(plan.target)
    manifest = make_manifest(plan.target, storage_of(plan.target, plan.storage))
    todo = Todo(plan.masking.format)
    with asyncio.Runner() as runner:
        try:
            runner.run(manifest.open(redaction, DEFAULTS))
            total, left = runner.run(_look(plan, manifest, todo))
            watch.begin(total, left)
            journal = Journal(runner, manifest, todo, watch)
            for window in todo.windows(WINDOW):
                try:
                    _work(window, pool, journal)
                finally:
                    journal.flush()
            if isinstance(plan.target, ZipFile):
                if is_as_before and not left:
                    forget(plan.target)
                else:
                    pack(plan.target, (HEADER, LINES, *todo.outputs()))
            totals = todo.totals()
        finally:
            todo.close()
            runner.run(manifest.close())
    return Totals(*(totals.get(name, 0) for name in ("masked", "faces", "skipped", "failed")))


async def _look(plan: Plan, manifest: Manifest, todo: Todo) -> tuple[int, int]:
    """Read what was done and what there is; how many sources there are, and how many are left."""
    async for line in manifest.lines():
        todo.note_line(line)
    async for name, size in manifest.outputs():
        todo.note_output(name, size)
    source, total = make_source(plan.source, storage_of(plan.source, plan.storage)), 0
    await source.open()
    try:
        async for entry in source.list():
            todo.note_source(entry)
            total += 1
    finally:
        await source.close()
    return total, todo.find_pending()


def _work(window: list[tuple[Entry, bool]], pool: Pool, journal: "Journal") -> None:
    """Do a window."""
    for entry, is_taken in window:
        if is_taken:
            journal.add(failed(entry, "another file has the name its masked picture would get; rename one"))
    if entries := [entry for entry, is_taken in window if not is_taken]:
        for record in pool.records(entries):
            journal.add(record)


class Journal:
    """Writes records in groups."""

    def __init__(self, runner: asyncio.Runner, manifest: Manifest, todo: Todo, watch: Watch) -> None:
        self._runner = runner
        self._manifest = manifest
        self._todo = todo
        self._watch = watch
        self._records: list[Record] = []
        self._flushed_s = time.monotonic()
        self._trouble = 0

    def add(self, record: Record) -> None:
        """Note a record; RedactionError when a place fails one source after the other."""
        self._records.append(record)
        self._todo.note_record(record)
        self._watch.note(record)
        self._trouble = self._trouble + 1 if record.is_trouble else 0
        if len(self._records) >= FLUSH_RECORDS or time.monotonic() - self._flushed_s >= FLUSH_S:
            self.flush()
        if self._trouble >= MOST_TROUBLE:
            raise RedactionError(
                f"the last {MOST_TROUBLE} files could not be read or written ({record.reason}); "
                "mend that, then give the same command again: it goes on"
            )

    def flush(self) -> None:
        """Write what was noted."""
        if self._records:
            self._runner.run(self._manifest.add(self._records))
            self._records = []
        self._flushed_s = time.monotonic()
