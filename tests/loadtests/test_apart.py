import subprocess
import sys

import psutil
import pytest

from loadtests.apart import main, set_apart

LAUNCHER = """
import subprocess, sys
store = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
stage = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(store.pid, stage.pid, flush=True)
try:
    store.wait()
finally:
    store.kill()
    stage.kill()
"""


def test_stages_and_stores_get_a_processor_each(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER], stdout=subprocess.PIPE)
    assert launcher.stdout is not None
    store, stage = (psutil.Process(int(pid)) for pid in launcher.stdout.readline().split())
    monkeypatch.setattr("loadtests.apart.is_store", lambda process: process.pid == store.pid)
    first, *_, last = sorted(psutil.Process().cpu_affinity())
    try:
        assert set_apart(launcher.pid, first, last) == (2, 1)
        assert (stage.cpu_affinity(), store.cpu_affinity()) == ([first], [last])
    finally:
        store.kill()
        launcher.wait()
        launcher.stdout.close()
        stage.wait()


def test_a_pid_of_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    monkeypatch.setattr(sys, "argv", ["apart", "--pid", str(ended.pid)])
    with pytest.raises(SystemExit, match="is `face-api serve` running"):
        main()
