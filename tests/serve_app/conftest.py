"""The application in this process over the local pipeline: real stages, no Ray."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.pipeline import LocalPipeline
from models.resolve import ModelSource
from models.scrfd import Scrfd, ScrfdOptions
from serve_app.app import create_app
from serve_app.ratelimit.lease import Grants, Order
from serve_app.ratelimit.ledger import Ledger
from serve_app.settings import Settings
from tests.tiny_scrfd import write_tiny_scrfd


class LocalLedger:
    """The ledger in this process: what the Limiter is to several replicas."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._ledger = Ledger((settings or Settings(api_key_enabled=False)).rate_limits)

    async def take(self, order: Order) -> Grants:
        return self._ledger.take(order)


@asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[None]:
    """Start and stop an ASGI application as a server does."""
    told: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    said: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    running = asyncio.create_task(app({"type": "lifespan", "state": {}}, told.get, said.put))
    await told.put({"type": "lifespan.startup"})
    assert (await said.get())["type"] == "lifespan.startup.complete"
    yield
    await told.put({"type": "lifespan.shutdown"})
    assert (await said.get())["type"] == "lifespan.shutdown.complete"
    await running


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Scrfd:
    folder = tmp_path_factory.mktemp("tiny")
    weights = write_tiny_scrfd(folder / "tiny.onnx")
    return Scrfd.load(ScrfdOptions(ModelSource(str(weights), (), folder), folder / "prepared", "cpu", 1))


@pytest.fixture
def pipeline(tiny: Scrfd) -> LocalPipeline:
    return LocalPipeline(tiny, max_pixels=1_000_000)


@pytest.fixture
async def client(pipeline: LocalPipeline) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(api_key_enabled=False, max_upload_bytes=200_000, max_image_pixels=1_000_000)
    app = create_app(settings, pipeline, LocalLedger())
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        yield http


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty working folder, with no FACE_API_* variables."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
