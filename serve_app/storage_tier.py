"""The storage tier of one ingress replica: S3, and the rows that say what lies there."""

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from serve_app.database import Database
from serve_app.database_tier import DatabaseTier
from serve_app.repositories.cleanup import CleanupRepository
from serve_app.repositories.images import ImageRepository
from serve_app.repositories.jobs import JobRepository
from serve_app.repositories.records import RecordRepository
from serve_app.repositories.statistics import StatisticsRepository
from serve_app.services.deletion import delete_image
from serve_app.services.maintenance import Maintenance
from serve_app.services.recording import Recorder
from serve_app.settings import Settings
from serve_app.storage.objects import ObjectStore, StorageUnavailableError
from serve_app.storage.options import StorageOptions

logger = logging.getLogger("face_api.storage")


class StorageTier:
    """Images, jobs and their objects."""

    def __init__(self, settings: Settings, tier: DatabaseTier) -> None:
        database = tier.database
        self.images = ImageRepository(database)
        self.jobs = JobRepository(database)
        self.statistics = StatisticsRepository(database)
        self.cleanup = CleanupRepository(database)
        self.objects = ObjectStore(storage_options(settings))
        self.recorder = Recorder(
            database,
            self.images,
            self.jobs,
            RecordRepository(database),
            self.cleanup,
            self.objects,
            owner=tier.owner,
            wait_s=settings.storage_wait_ms / 1e3,
            most_in_flight=settings.storage_max_in_flight,
        )
        self._database = database

    async def start(self) -> None:
        """Open the client and make the bucket; goes on without either server."""
        await self.objects.open()
        try:
            await self.objects.ensure_bucket()
        except StorageUnavailableError as error:
            logger.warning(json.dumps({"event": "the bucket cannot be reached yet", "reason": str(error)}))

    async def stop(self) -> None:
        """Let what is under way end, then close."""
        await self.recorder.stop()
        await self.objects.close()

    async def delete_image(self, image_id: UUID) -> bool:
        """Delete an image, its jobs and their objects; False for an unknown id."""
        return await delete_image(image_id, self._database, self.images, self.cleanup, self.objects)


@asynccontextmanager
async def open_maintenance(settings: Settings) -> AsyncIterator[Maintenance]:
    """Maintenance on connections of its own."""
    if settings.database is None:
        raise ValueError("storage needs a database")
    database, objects = Database(settings.database, pool_size=2), ObjectStore(storage_options(settings))
    await database.open()
    await objects.open()
    try:
        yield Maintenance(
            database, ImageRepository(database), CleanupRepository(database), objects, settings.retention_days
        )
    finally:
        await objects.close()
        await database.close()


def environment_of(options: StorageOptions) -> dict[str, str]:
    """The variables that `storage_options` reads back, for replicas in other processes."""
    values = {
        "S3_ENDPOINT": options.endpoint,
        "S3_REGION": options.region,
        "S3_BUCKET": options.bucket,
        "S3_ACCESS_KEY": options.access_key,
        "S3_SECRET_KEY": options.secret_key,
    }
    return {f"FACE_API_{name}": value for name, value in values.items() if value is not None}


def storage_options(settings: Settings) -> StorageOptions:
    """Where objects lie."""
    secret = settings.s3_secret_key
    return StorageOptions(
        endpoint=settings.s3_endpoint,
        public_endpoint=settings.s3_public_endpoint,
        region=settings.s3_region,
        bucket=settings.s3_bucket,
        access_key=settings.s3_access_key,
        secret_key=None if secret is None else secret.get_secret_value(),
        link_ttl_s=settings.s3_link_ttl_s,
    )
