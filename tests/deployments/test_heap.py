import subprocess
import sys

import pytest

SCRIPT = """
import time
from deployments.heap import give_back, give_back_regularly
from serve_app.process_memory import anonymous_bytes
import os

held = [b"x" * size for size in range(60_000, 63_000)]  # too small for a mapping of its own
last = held[-1]
del held  # the last one keeps glibc from giving the rest back
before = anonymous_bytes(os.getpid())
{call}
deadline = time.monotonic() + 20
while anonymous_bytes(os.getpid()) > before - 150_000_000 and time.monotonic() < deadline:
    time.sleep(0.01)
print(before - anonymous_bytes(os.getpid()))
"""


def given_back(call: str) -> int:
    """Bytes that a process of its own held less after `call`."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(call=call)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return int(done.stdout)


@pytest.mark.parametrize("call", ["give_back()", "give_back_regularly(period_s=0.1)"])
def test_what_is_free_goes_back_to_the_kernel(call: str) -> None:
    assert given_back(call) > 150_000_000
