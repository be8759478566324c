import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
SHOW = "import {module}, pyvips; print(pyvips.cache_get_max(), pyvips.concurrency_get())"


@pytest.mark.parametrize("module", ["deployments.decoding.deployment", "deployments.masking.deployment"])
def test_no_stage_keeps_pictures_in_libvips_or_takes_more_than_its_thread(module: str) -> None:
    """In a process of its own: what one stage sets must not depend on what another imported."""
    said = subprocess.run(
        [sys.executable, "-c", SHOW.format(module=module)],
        capture_output=True,
        text=True,
        check=True,
        cwd=PROJECT,
    )
    assert said.stdout.split() == ["0", "1"]


def test_libvips_is_imported_in_one_place() -> None:
    folders = ("deployments", "models", "serve_app")
    sources = [path for folder in folders for path in (PROJECT / folder).rglob("*.py")]
    importing = [path for path in sources if "import pyvips" in path.read_text().splitlines()]
    assert importing == [PROJECT / "deployments" / "libvips.py"]
