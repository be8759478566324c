"""The migrations make what `tables.py` says, step by step and back."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import CheckConstraint, Connection, inspect
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import serve_app
from serve_app.database import Database
from serve_app.migrate import migrate
from serve_app.repositories.images import ImageRepository
from serve_app.repositories.jobs import JobRepository
from serve_app.repositories.statistics import StatisticsRepository
from serve_app.tables import metadata
from tests.serve_app.repositories.conftest import new_image, new_job

pytestmark = pytest.mark.postgres
LATEST = "0004"


async def on(url: str, work: Any) -> Any:
    """Run `work` with a synchronous connection, in one transaction."""
    engine = create_async_engine("postgresql+asyncpg://" + url.split("://", 1)[1], poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(work)
    finally:
        await engine.dispose()


def differences(connection: Connection) -> list[Any]:
    options = {"compare_type": True, "compare_server_default": True}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


def checks_and_cascades(connection: Connection) -> dict[str, Any]:
    """What compare_metadata does not look at."""
    inspector = inspect(connection)
    return {
        table: (
            {check["name"] for check in inspector.get_check_constraints(table)},
            {key["options"].get("ondelete") for key in inspector.get_foreign_keys(table)},
            {index["name"]: index.get("dialect_options", {}) for index in inspector.get_indexes(table)},
        )
        for table in metadata.tables
    }


def downgrade(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(serve_app.__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.downgrade(config, revision)


async def test_the_migrated_tables_are_those_of_tables_py(database_url: str) -> None:
    assert await on(database_url, differences) == []
    found = await on(database_url, checks_and_cascades)
    for name, table in metadata.tables.items():
        declared = {str(c.name) for c in table.constraints if isinstance(c, CheckConstraint)}
        assert found[name][0] == declared, name
    assert found["processing_jobs"][1] == {"CASCADE"}
    indexes = found["processing_jobs"][2]
    assert indexes["ix_processing_jobs_processed_s3_key"]["postgresql_using"] == "hash"
    assert "blur_method IS NOT NULL" in indexes["ix_processing_jobs_blur_method"]["postgresql_where"]


@pytest.mark.parametrize("revision", ["0001", "base"])
async def test_what_a_downgrade_takes_away_an_upgrade_brings_back(database_url: str, revision: str) -> None:
    await on(database_url, lambda connection: downgrade(connection, revision))
    assert await on(database_url, differences) != []
    leftover = await on(database_url, lambda connection: inspect(connection).get_table_names())
    assert ("api_keys" in leftover) is (revision == "0001")
    assert "images" not in leftover
    migrated = await migrate(database_url)
    assert migrated.after == LATEST
    assert await on(database_url, differences) == []
    assert (await migrate(database_url)).before == LATEST


async def test_bytes_of_results_from_before_they_were_counted_apart_are_counted(database_url: str) -> None:
    await on(database_url, lambda connection: downgrade(connection, "0002"))
    database = Database(database_url, pool_size=1)
    await database.open()
    images, jobs = ImageRepository(database), JobRepository(database)

    async def stored() -> tuple[int, int]:
        totals = await StatisticsRepository(database).totals()
        return totals.used_bytes, totals.result_bytes

    try:
        image = new_image(size_bytes=70)
        older = {name: value for name, value in asdict(image).items() if name != "key_id"}  # came later
        await database.execute(metadata.tables["images"].insert().values(older))
        await jobs.insert(new_job(image.id, "solid", processed_size_bytes=9))
        await migrate(database_url)
        await jobs.insert(new_job(image.id, "gaussian", processed_size_bytes=4))
        assert await stored() == (83, 13)
        async with database.transaction():
            await images.delete(image.id)
        assert await stored() == (0, 0)
    finally:
        await database.close()
