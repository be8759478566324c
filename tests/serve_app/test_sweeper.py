import subprocess
import sys
from collections.abc import Iterator

import pytest

from serve_app import sweeper

SLEEP = (sys.executable, "-c", "import time; time.sleep(60)")
KILLED = -9


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    started = [subprocess.Popen(SLEEP) for _ in range(3)]
    yield started
    for process in started:
        process.kill()
        process.wait()


def test_processes_end_with_the_one_that_holds_the_pipe(processes: list[subprocess.Popen[bytes]]) -> None:
    gone, stays, ends = processes
    gone.kill()
    gone.wait()
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys, time;"
            "subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, start_new_session=True); time.sleep(60)",
            *(sys.executable, "-I", "-S", sweeper.__file__, str(gone.pid), str(ends.pid)),
        ]
    )
    with pytest.raises(subprocess.TimeoutExpired):
        ends.wait(1.0)
    holder.kill()
    holder.wait()
    assert ends.wait(20) == KILLED
    assert stays.poll() is None
