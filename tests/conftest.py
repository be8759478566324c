"""Fixtures every test may use."""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

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
