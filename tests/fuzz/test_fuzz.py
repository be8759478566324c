"""Each target for a few seconds; `make fuzz` takes its time."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

SECONDS = 4
SMALL_PARENT = ("/bin/sh", "-c", '"$@"; exit $?', "sh")
"""libFuzzer takes the peak memory of whoever started it, here the whole test run's, for its own."""

pytestmark = pytest.mark.slow


@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris has no wheel for this Python or machine")
@pytest.mark.parametrize("target", ["header", "picture", "reduced", "lossless", "upload", "names", "http"])
def test_nothing_but_a_clients_error_comes_of_any_bytes(target: str, tmp_path: Path) -> None:
    command = [
        *SMALL_PARENT,
        sys.executable,
        "-m",
        "tests.fuzz",
        target,
        "--seconds",
        str(SECONDS),
        "--folder",
        str(tmp_path),
    ]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Done 0 runs" not in done.stderr
    assert "Done " in done.stderr
