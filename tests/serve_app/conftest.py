"""The application in this process over the local pipeline: real stages, no Ray."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from deployments.pipeline import LocalPipeline
from models.resolve import ModelSource
from models.scrfd import Scrfd, ScrfdOptions
from serve_app.app import create_app
from serve_app.settings import Settings
from tests.tiny_scrfd import write_tiny_scrfd


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
    settings = Settings(max_upload_bytes=200_000, max_image_pixels=1_000_000)
    transport = httpx.ASGITransport(create_app(settings, pipeline), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        yield http


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty working folder, with no FACE_API_* variables."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
