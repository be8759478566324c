"""A plan over folders, with the tiny detector and workers in this process."""

import asyncio
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deployments.types import MaskParams
from models.resolve import ModelSource, resolve_model
from models.scrfd import ScrfdOptions
from models.types import DetectParams
from serve_app.redact.places import parse_place
from serve_app.redact.records import Entry, Record, Redaction, parameters_of
from serve_app.redact.run import Totals, redact
from serve_app.redact.worker import Plan, open_redactor
from serve_app.storage.options import StorageOptions
from tests.tiny_scrfd import red_block_picture, write_tiny_scrfd

NO_STORAGE = StorageOptions("http://127.0.0.1:1", None, "us-east-1", "none", "key", "secret")
SOLID = MaskParams(method="solid", padding=0.0, format="png")


def picture(column: int = 2, row: int = 3, size: int = 320) -> bytes:
    """A picture with one face at a place of its own."""
    file = io.BytesIO()
    Image.fromarray(red_block_picture(640, 640, {(column, row): 255})).resize((size, size), 0).save(
        file, "PNG"
    )
    return file.getvalue()


def shows_no_face(data: bytes) -> bool:
    return int(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).max()) == 0


class Killed(BaseException):
    """Ends a run where it stands, as a signal does: nothing after it is run."""


class InProcess:
    """Workers of this process, which end at will."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.stop_after: int | None = None  # records, then the whole run ends
        self.asked: list[list[str]] = []
        self.records_made = 0

    def records(self, entries: Sequence[Entry]) -> Iterator[Record]:
        self.asked.append([entry.name for entry in entries])
        with asyncio.Runner() as runner:
            opened = open_redactor(self.plan)
            redactor = runner.run(opened.__aenter__())
            for entry in entries:
                record = runner.run(redactor.redact(entry))
                if self.records_made == self.stop_after:
                    raise Killed
                self.records_made += 1
                yield record


class Quiet:
    def begin(self, total: int, left: int) -> None:
        self.total, self.left = total, left

    def note(self, record: Record) -> None:
        pass


class Bench:
    """A source folder, a target, and a way to run between them."""

    def __init__(self, folder: Path, scrfd: ScrfdOptions) -> None:
        self.folder = folder
        self.scrfd = scrfd
        self.source, self.target = folder / "in", folder / "out"
        self.source.mkdir()
        self.watch = Quiet()
        self.pool: InProcess

    def add(self, name: str, data: bytes) -> Path:
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def plan(self, source: object, target: object, **given: Any) -> Plan:
        digest = resolve_model(self.scrfd.source).digest
        facts = {"params": DetectParams(), "masking": SOLID, "storage": NO_STORAGE, "max_bytes": 1_000_000}
        return Plan(
            source=parse_place(str(source)),
            target=parse_place(str(target)),
            scrfd=self.scrfd,
            model_sha256=digest,
            max_pixels=1_000_000,
            **(facts | given),
        )

    def run(
        self,
        source: object = None,
        target: object = None,
        *,
        stop_after: int | None = None,
        **given: Any,
    ) -> Totals:
        plan = self.plan(source or self.source, target or self.target, **given)
        self.pool = InProcess(plan)
        self.pool.stop_after = stop_after
        parameters = parameters_of(plan.params, plan.masking)
        redaction = Redaction(str(plan.source), parameters, {"name": "tiny", "sha256": plan.model_sha256})
        return redact(plan, redaction, self.pool, self.watch)


@pytest.fixture(scope="session")
def tiny_options(tmp_path_factory: pytest.TempPathFactory) -> ScrfdOptions:
    folder = tmp_path_factory.mktemp("tiny")
    weights = write_tiny_scrfd(folder / "tiny.onnx")
    return ScrfdOptions(ModelSource(str(weights), (), folder), folder / "prepared", "cpu", 1)


@pytest.fixture
def bench(tmp_path: Path, tiny_options: ScrfdOptions) -> Bench:
    return Bench(tmp_path, tiny_options)
