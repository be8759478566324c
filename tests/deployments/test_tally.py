import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments import tally
from deployments.metrics import Counter, Gauge, Histogram
from deployments.tally import (
    SLOTS,
    Series,
    Tally,
    read_tallies,
    remove_abandoned,
    remove_tallies,
    tally_folder,
)

PORT = 65_000 + os.getpid() % 500
"""A name, not a port: nothing listens there."""


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    remove_tallies(PORT)
    yield
    remove_tallies(PORT)


def values(series: list[Series]) -> dict[tuple[str, ...], tuple[float, ...]]:
    return {(one.metric, *one.labels): one.values for one in series}


class OtherProcess:
    """A process that counts to 3 and waits."""

    def __init__(self, count: int = 3) -> None:
        code = (
            "import sys; from deployments.tally import Tally\n"
            "from deployments.metrics import Counter, Gauge\n"
            "tally = Tally(); counter = Counter('c_total', '', ('kind',), tally=tally)\n"
            "gauge = Gauge('g', '', tally=tally); gauge.set(7)\n"
            "tally.publish(int(sys.argv[1]), 'Other')\n"
            "for _ in range(int(sys.argv[2])): counter.inc('a')\n"
            "print('counted', flush=True); sys.stdin.read()"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, str(PORT), str(count)], stdout=subprocess.PIPE, stdin=subprocess.PIPE
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"counted\n"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        assert self.process.stdin is not None
        self.process.stdout.close()
        self.process.stdin.close()


def test_what_was_counted_before_a_tally_is_published_goes_along() -> None:
    mine = Tally()
    counter = Counter("c_total", "", ("kind",), tally=mine)
    counter.inc("a")
    mine.publish(PORT, "Me")
    counter.inc("a", by=2)
    counter.inc("b")
    (process,), ended = read_tallies(PORT)
    assert (process.pid, process.role) == (os.getpid(), "Me")
    assert values(process.series) == {("c_total", "a"): (3.0,), ("c_total", "b"): (1.0,)}
    assert ended == []
    assert values(mine.read()) == values(process.series)


def test_counts_of_a_killed_process_stay_and_are_counted_once() -> None:
    for _ in range(2):
        OtherProcess().kill()
    living = OtherProcess()
    for _ in range(3):  # each look finds the same
        (process,), ended = read_tallies(PORT)
        assert process.pid == living.process.pid
        assert values(process.series) == {("g",): (7.0,), ("c_total", "a"): (3.0,)}
        assert values(ended)["c_total", "a"] == (6.0,)
    assert len(list(tally_folder(PORT).glob("*.tally"))) == 1
    living.kill()
    processes, ended = read_tallies(PORT)
    assert processes == []
    assert values(ended)["c_total", "a"] == (9.0,)


def test_replicas_that_come_and_go_leave_one_file_though_nobody_scrapes() -> None:
    for _ in range(4):
        OtherProcess().kill()
    assert len(list(tally_folder(PORT).glob("*.tally"))) == 1


def test_who_was_killed_while_tidying_up_counted_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    OtherProcess().kill()

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            read_tallies(PORT)
    assert values(read_tallies(PORT)[1])["c_total", "a"] == (3.0,)
    OtherProcess().kill()
    assert values(read_tallies(PORT)[1])["c_total", "a"] == (6.0,)


def test_many_readers_at_once_see_the_same_sums() -> None:
    for _ in range(3):
        OtherProcess().kill()
    seen: list[float] = []
    readers = [
        threading.Thread(target=lambda: seen.append(values(read_tallies(PORT)[1])["c_total", "a"][0]))
        for _ in range(16)
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert seen == [9.0] * 16


def test_a_process_that_begins_while_others_read_is_seen() -> None:
    is_over = threading.Event()

    def read() -> None:
        while not is_over.is_set():
            read_tallies(PORT)

    reader = threading.Thread(target=read)
    reader.start()
    tallies = [Tally() for _ in range(100)]
    for one in tallies:
        one.publish(PORT, "Me")
    is_over.set()
    reader.join()
    assert len(read_tallies(PORT)[0]) == 100


def test_a_full_tally_loses_new_series_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    mine = Tally()
    counter = Counter("c_total", "", ("kind",), tally=mine)
    counter.inc("first")
    histogram = Histogram("h", "", ("kind",), buckets=tuple(float(i) for i in range(100)), tally=mine)
    for number in range(SLOTS // 50):
        histogram.observe(1e9, str(number))
    counter.inc("late")
    counter.inc("first")
    found = values(mine.read())
    assert found["c_total", "first"] == (2.0,)
    assert ("c_total", "late") not in found
    assert sum(len(one) for one in found.values()) < SLOTS
    (said,) = caplog.records
    assert json.loads(said.message) == {"event": "no room for more metrics", "metric": "h"}


def test_what_a_killed_service_left_goes_and_a_living_one_stays() -> None:
    process = OtherProcess()
    long_ago = time.time() - 2 * tally.STARTING_S
    os.utime(tally_folder(PORT), (long_ago, long_ago))
    remove_abandoned()
    assert len(read_tallies(PORT)[0]) == 1
    process.kill()
    os.utime(tally_folder(PORT))
    remove_abandoned()  # it may be starting
    assert tally_folder(PORT).exists()
    os.utime(tally_folder(PORT), (long_ago, long_ago))
    remove_abandoned()
    assert not tally_folder(PORT).exists()


def test_without_a_port_numbers_stay_in_the_process() -> None:
    mine = Tally()
    Gauge("g", "", tally=mine).set(4)
    mine.publish(0, "Me")
    assert values(mine.read()) == {("g",): (4.0,)}
    assert not tally_folder(0).exists()


def test_a_folder_of_somebody_else_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr(tally, "SHARED_MEMORY", tmp_path)
    tally_folder(PORT).symlink_to(elsewhere)
    Tally().publish(PORT, "Me")
    assert list(elsewhere.iterdir()) == []
    assert "metrics of this process are not seen" in caplog.text
