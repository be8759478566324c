import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loadtests.compare.processes import PeakMemory, ProcessTree

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")

DETACHED = """
import os, sys, time
if os.fork() == 0:
    os.setsid()                 # out of the session,
    if os.fork() == 0:          # and to init, once the one between has ended
        time.sleep(0.5)
        while True:
            pass
    os._exit(0)
os.wait()
time.sleep(60)
"""
GROWING = """
import time
kept = b"x" * (64 * 2**20)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    trees: list[ProcessTree] = []

    def run(code: str) -> ProcessTree:
        with (tmp_path / "log").open("wb") as log:
            trees.append(ProcessTree([sys.executable, "-c", code], {"PATH": "/usr/bin:/bin"}, log))
        return trees[-1]

    yield run
    for tree in trees:
        tree.stop(1.0)


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_process_that_left_its_parent_and_its_session_is_counted_and_ended(start: Any) -> None:
    tree: ProcessTree = start(DETACHED)
    root = tree.process.pid

    def strays() -> list[int]:
        return [s.pid for s in tree.members() if root not in (s.parent, s.session)]

    wait_for(lambda: len(tree.members()) == 2 and strays())
    before = tree.cpu_s()
    wait_for(lambda: tree.cpu_s() - before > 0.2)
    tree.stop(0.5)
    assert tree.members() == []


def test_a_stranger_is_not_counted(start: Any) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as stranger:
        tree: ProcessTree = start("import time; time.sleep(60)")
        try:
            assert [s.pid for s in tree.members()] == [tree.process.pid]
        finally:
            stranger.kill()


def test_a_frozen_server_takes_no_time(start: Any) -> None:
    tree: ProcessTree = start("while True: pass")
    wait_for(lambda: tree.cpu_s() > 0)
    with tree.frozen():
        before = tree.cpu_s()
        time.sleep(0.3)
        assert tree.cpu_s() == before
    wait_for(lambda: tree.cpu_s() > before)


def test_peak_memory_is_that_of_the_server(start: Any, tmp_path: Path) -> None:
    tree: ProcessTree = start(GROWING)
    wait_for(lambda: b"ready" in (tmp_path / "log").read_bytes())
    with PeakMemory(tree) as memory:
        time.sleep(0.1)
    assert 64 * 2**20 < memory.bytes < 96 * 2**20
