"""Short versions of what `make torture` does at length; RELIABILITY.md says what is promised."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest

from loadtests.torture import deadlines
from loadtests.torture.crash_only import CLIENTS, Load, kill_one
from loadtests.torture.own_answers import drive, findings
from loadtests.torture.promise import Finding
from loadtests.torture.victim import GCS, RAYLET, Victim, victim, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.postgres, pytest.mark.s3, pytest.mark.timeout(300)]
PICTURES = 240
AT_ONCE = 32
STAGES = ("Ingress", "Decoder", "Detector", "Masker")
BACK_S = 120.0
"""Machines of tests may be busy; `make torture` measures how soon it is back."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    folder = tmp_path_factory.mktemp("torture")
    variables = {"FACE_API_MODEL": "faceapi_small", "FACE_API_REQUEST_TIMEOUT_S": f"{deadlines.TIMEOUT_S:g}"}
    with victim(folder, **variables) as started:
        yield started
    assert started.left_behind == []


def broken(found: list[Finding]) -> list[Finding]:
    return [finding for finding in found if not finding.holds]


def stage_mebibytes(running: Victim) -> float:
    total = 0.0
    for stage in STAGES:
        for process in running.part(stage):
            with suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss / 2**20
    return total


def test_each_picture_gets_its_own_answer_while_a_decoder_is_killed(running: Victim) -> None:
    tally = asyncio.run(drive(running, PICTURES, AT_ONCE, ("Decoder",)))
    assert broken(findings(tally, PICTURES)) == []


def test_work_whose_deadline_passed_or_whose_client_left_is_dropped_before_the_session(
    running: Victim,
) -> None:
    found = [
        *deadlines.after_the_deadline(running, "Detector"),
        *deadlines.after_leaving(running, "Detector"),
    ]
    assert broken([*found, deadlines.answers_again(running)]) == []


def test_requests_keep_nothing_in_the_processes_they_went_through(running: Victim) -> None:
    asyncio.run(drive(running, PICTURES, AT_ONCE, ()))
    before = stage_mebibytes(running)
    tally = asyncio.run(drive(running, 2 * PICTURES, AT_ONCE, ()))
    assert tally.answered == 2 * PICTURES
    assert stage_mebibytes(running) - before < 0.1 * PICTURES  # a picture is 0.4 MiB when decoded


def test_who_comes_while_the_only_ingress_is_dead_waits_for_the_next_one(running: Victim) -> None:
    load = Load(running)
    with load.driving():
        while len(load.answers) < 5 * CLIENTS:
            time.sleep(0.1)
        after = kill_one(load, "Ingress")
    assert after.replaced_s is not None
    assert after.failed.total() <= CLIENTS, after.failed
    assert load.wrong == []


def test_a_service_whose_ray_died_starts_again_by_itself(running: Victim) -> None:
    """Runs last: all replicas are new afterwards."""
    pid = running.trial.pid
    old = running.processes()[1:]
    raylet, (gcs,) = running.part(RAYLET), running.part(GCS)
    gcs.kill()
    assert wait_until(lambda: running.part(RAYLET) not in ([], raylet), BACK_S) is not None
    assert wait_until(running.is_ready, BACK_S) is not None
    assert running.processes()[0].pid == pid
    assert broken([deadlines.answers_again(running)]) == []
    _, alive = psutil.wait_procs(old, timeout=20)
    assert alive == []
    running.look()
