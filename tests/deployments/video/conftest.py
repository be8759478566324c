"""Detectors for films."""

from pathlib import Path

import pytest

from models.resolve import ModelSource
from models.scrfd import Scrfd, ScrfdOptions
from tests.tiny_scrfd import write_tiny_scrfd


@pytest.fixture(scope="session")
def red_finder(tmp_path_factory: pytest.TempPathFactory) -> Scrfd:
    """Finds red blocks, see `tests.tiny_scrfd`."""
    folder = tmp_path_factory.mktemp("red")
    return _loaded(str(write_tiny_scrfd(folder / "tiny.onnx")), folder)


@pytest.fixture(scope="session")
def face_finder(tmp_path_factory: pytest.TempPathFactory) -> Scrfd:
    """Finds faces: the model that comes with the code."""
    return _loaded("faceapi_small", tmp_path_factory.mktemp("face"))


def _loaded(model: str, folder: Path) -> Scrfd:
    source = ModelSource(model, (), folder / "models")
    return Scrfd.load(ScrfdOptions(source, folder / "prepared", provider="cpu", threads=2))
