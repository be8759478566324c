"""Totals over all images and jobs, at the cost of reading a few rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, get_args

import sqlalchemy as sa

from deployments.types import MaskMethod
from serve_app.database import Database
from serve_app.repositories.jobs import JobType
from serve_app.tables import storage_statistics

METHODS: Final[tuple[MaskMethod, ...]] = get_args(MaskMethod)


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over everything that is stored."""

    images: int
    detect_jobs: int
    mask_jobs: Mapping[MaskMethod, int]  # by method; every method is there
    faces: int  # of all jobs
    inference_ms: float  # of all jobs
    used_bytes: int  # of originals and results that were kept

    def jobs(self, job_type: JobType | None = None, method: MaskMethod | None = None) -> int:
        """How many jobs there are of a type, a method, or both."""
        detect = self.detect_jobs if method is None and job_type != "mask" else 0
        if job_type == "detect":
            return detect
        return detect + sum(count for name, count in self.mask_jobs.items() if method in {None, name})


class StatisticsRepository:
    """The question how much there is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def totals(self) -> Totals:
        """All of it, in one statement; the triggers keep it exact."""
        counters = [column for column in storage_statistics.c if column.name != "shard"]
        sums = [sa.func.sum(column).label(column.name) for column in counters]
        row = await self._database.fetch_one(sa.select(*sums))
        if row is None:
            raise AssertionError("an aggregate is always one row")
        return Totals(
            images=int(row["images"]),
            detect_jobs=int(row["detect_jobs"]),
            mask_jobs={method: int(row[f"{method}_jobs"]) for method in METHODS},
            faces=int(row["faces"]),
            inference_ms=int(row["inference_us"]) / 1000,
            used_bytes=int(row["used_bytes"]),
        )
