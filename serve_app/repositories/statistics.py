"""Totals over all images and jobs, at the cost of reading a few rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, get_args

import sqlalchemy as sa

from deployments.types import MaskMethod
from serve_app.database import Database
from serve_app.repositories.jobs import JobType
from serve_app.tables import processing_jobs, storage_statistics

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
    result_bytes: int  # of results alone

    def jobs(self, job_type: JobType | None = None, method: MaskMethod | None = None) -> int:
        """How many jobs there are of a type, a method, or both."""
        detect = self.detect_jobs if method is None and job_type != "mask" else 0
        if job_type == "detect":
            return detect
        return detect + sum(count for name, count in self.mask_jobs.items() if method in {None, name})


@dataclass(frozen=True, slots=True)
class HourOfJobs:
    """What was done in one hour."""

    start: datetime  # UTC
    detect_jobs: int
    mask_jobs: int


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
            result_bytes=int(row["result_bytes"]),
        )

    async def jobs_by_hour(self, hours: int) -> list[HourOfJobs]:
        """The last so many hours, oldest first, the current one last; an hour without jobs is there too.

        Read from the index on type and time alone: only rows of these hours are touched.
        """
        current = sa.func.date_trunc("hour", sa.func.now(), "UTC")
        first = current - _hours(hours - 1)
        table = processing_jobs
        bucket = sa.func.date_trunc("hour", table.c.created_at, "UTC").label("start")
        counts = [
            sa.select(bucket, sa.literal(job_type).label("job_type"), sa.func.count().label("jobs"))
            .where(table.c.job_type == job_type, table.c.created_at >= first)
            .group_by(bucket)
            for job_type in get_args(JobType)
        ]
        counted = sa.union_all(*counts).subquery("counted")
        starts = (
            sa.func.generate_series(first, current, _hours(1)).table_valued("start").render_derived("hours")
        )
        sums = [
            sa.func.coalesce(sa.func.sum(counted.c.jobs).filter(counted.c.job_type == job_type), 0).label(
                job_type
            )
            for job_type in get_args(JobType)
        ]
        query = (
            sa.select(starts.c.start, *sums)
            .select_from(starts.outerjoin(counted, counted.c.start == starts.c.start))
            .group_by(starts.c.start)
            .order_by(starts.c.start)
        )
        rows = await self._database.fetch_all(query)
        return [HourOfJobs(row["start"], int(row["detect"]), int(row["mask"])) for row in rows]


def _hours(count: int) -> sa.ColumnElement[timedelta]:
    return sa.func.make_interval(0, 0, 0, 0, count)
