"""`face-api advise` from end to end, with one setting and a model that costs little."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from serve_app.advise.plan import Plan
from tests.serving.conftest import PROJECT
from tests.tiny_scrfd import write_tiny_scrfd

pytestmark = [pytest.mark.ray, pytest.mark.slow]


ONE_SETTING = """
import serve_app.advise.command
from serve_app.cli import main

serve_app.advise.command.climb = lambda first, route, most, measure: (first, measure(first, 0.0))
main()
"""


def advise(folder: Path, slo: str) -> "subprocess.CompletedProcess[str]":
    Image.fromarray(np.full((64, 64, 3), 128, np.uint8)).save(folder / "grey.jpg")
    command = [sys.executable, "-c", ONE_SETTING, "advise", "--slo", slo, "--image", str(folder / "grey.jpg")]
    return subprocess.run(
        [*command, "--seconds", "1", "--out", str(folder / "advised.yaml")],
        cwd=PROJECT,
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith(("FACE_API_", "RAY_"))},
            "FACE_API_MODEL": str(write_tiny_scrfd(folder / "tiny.onnx")),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


def test_the_best_setting_is_measured_and_written(tmp_path: Path) -> None:
    done = advise(tmp_path, "p50=20s")
    assert done.returncode == 0, done.stderr
    assert "requests a second" in done.stderr
    assert "bottleneck" in done.stderr
    text = (tmp_path / "advised.yaml").read_text()
    assert text.startswith("# Found by `face-api advise`")
    assert Plan.of(yaml.safe_load(text)) == Plan()


def test_an_objective_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    done = advise(tmp_path, "fast")
    assert done.returncode == 1
    assert "write for example p99=150ms" in done.stderr
    assert "Traceback" not in done.stderr
