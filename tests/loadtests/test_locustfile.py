import subprocess
import sys
from importlib.util import find_spec

import pytest

from loadtests.scenarios import scenarios


@pytest.mark.skipif(find_spec("locust") is None, reason="Locust is not installed")
def test_locust_finds_a_user_for_every_scenario() -> None:
    # In a process of its own: Locust patches sockets and threads.
    command = [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--list"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    users = said.stdout.split() + said.stderr.split()
    for name in ("Administrator", "Detect", "MaskPixelate", "Mask0_3MP", "DetectNewConnections"):
        assert name in users
    assert sum(user.startswith(("Detect", "Mask")) for user in users) == len(scenarios()) - 1
