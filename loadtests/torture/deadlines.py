"""Deadlines and clients that leave end the work in every stage: shown with stages that stand still.

A stage is stopped with SIGSTOP, as a hung GPU would stop it, while requests wait in it.
"""

import asyncio
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from loadtests.torture.client import Answer, client, post
from loadtests.torture.coded import Coded, make_coded
from loadtests.torture.promise import Effort, Finding, Promise, Proof
from loadtests.torture.victim import Victim, victim, wait_until

STAGES: Final = ("Decoder", "Detector", "Masker")
REQUESTS: Final = 24
TIMEOUT_S: Final = 3.0
MARGIN_S: Final = 1.0
FREE_S: Final = 3.0
"""Within so long places are free again; unused memory between the stages may be kept for 5 s more."""
LEAVE_S: Final = 0.7
IN_FLIGHT: Final = "face_api_requests_in_flight"
SESSION_RUNS: Final = "face_api_batch_size_count"


@contextmanager
def standing_still(running: Victim, stage: str) -> Iterator[None]:
    """Every replica of a stage, for as long as the block lasts."""
    processes = running.part(stage)
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)


async def _all(running: Victim, pictures: Sequence[Coded], leave_s: float | None) -> list[Answer]:
    """Send all at once; with `leave_s` every client closes its connection so much later."""
    async with client(running.url, running.headers) as session:
        work = [
            post(session, "/api/v1/mask", picture.data, {"method": "solid", "store": "none"})
            for picture in pictures
        ]
        if leave_s is None:
            return await asyncio.gather(*work)
        tasks = [asyncio.create_task(one) for one in work]
        await asyncio.sleep(leave_s)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return [task.result() for task in tasks if not task.cancelled()]


def after_the_deadline(running: Victim, stage: str) -> list[Finding]:
    """Requests that wait in a stage that stands still."""
    pictures = [make_coded(number) for number in range(REQUESTS)]
    runs = running.scrape().total(SESSION_RUNS)
    with standing_still(running, stage):
        answers = asyncio.run(_all(running, pictures, None))
        freed_s = wait_until(lambda: running.scrape().total(IN_FLIGHT) == 0, FREE_S)
    statuses = Counter(answer.label for answer in answers)
    slowest_s = max(answer.seconds for answer in answers)
    told = sum(answer.status == 504 and answer.detail() is not None for answer in answers)
    found = [
        Finding(
            f"requests that wait for a {stage} get 504 with JSON after {TIMEOUT_S:g} s",
            f"{dict(statuses)}, {told} with JSON, the last after {slowest_s:.2f} s",
            told == REQUESTS and slowest_s <= TIMEOUT_S + MARGIN_S,
        ),
        _is_free(f"meanwhile the ingress has its places back ({stage})", freed_s),
        _stages_are_free(running, stage),
    ]
    if stage == "Detector":
        computed = running.scrape().total(SESSION_RUNS) - runs
        found.append(
            Finding(
                "work whose deadline has passed is dropped before the session",
                f"{computed:.0f} of {REQUESTS} computed after the Detector went on",
                computed <= 1,
            )
        )
    return found


def after_leaving(running: Victim, stage: str) -> list[Finding]:
    """Clients that close their connections while their requests wait."""
    pictures = [make_coded(number) for number in range(REQUESTS)]
    before = running.scrape()
    with standing_still(running, stage):
        answers = asyncio.run(_all(running, pictures, LEAVE_S))
        freed_s = wait_until(lambda: running.scrape().total(IN_FLIGHT) == 0, FREE_S)
    found = [
        _is_free(
            f"{REQUESTS} clients that leave a waiting {stage} free their places in the ingress", freed_s
        ),
        _stages_are_free(running, stage),
    ]
    since = running.scrape().since(before)
    left = since.total("face_api_requests_total", status="499")
    found.append(
        Finding(
            "they are counted as clients that left",
            f"{left:.0f} of {REQUESTS}, {len(answers)} were answered",
            left == REQUESTS,
        )
    )
    if stage == "Detector":
        computed = since.total(SESSION_RUNS)
        found.append(
            Finding(
                "nothing is computed for them",
                f"{computed:.0f} of {REQUESTS} computed after the Detector went on",
                computed <= 1,
            )
        )
    return found


def answers_again(running: Victim) -> Finding:
    """Whether all is as before."""
    (answer,) = asyncio.run(_all(running, [make_coded(0)], None))
    return Finding("afterwards a picture is masked as before", answer.label, answer.status == 200)


def _is_free(what: str, freed_s: float | None) -> Finding:
    measured = f"not within {FREE_S:g} s" if freed_s is None else f"after {freed_s:.1f} s"
    return Finding(what, measured, freed_s is not None)


def _stages_are_free(running: Victim, stage: str) -> Finding:
    """Whether no stage holds a picture, and no memory is kept for one."""

    def held() -> dict[str, float]:
        scraped = running.scrape()
        by_stage = {one: scraped.total("face_api_stage_in_flight", deployment=one) for one in STAGES}
        pixels = scraped.total("face_api_decoded_pixels_in_flight")
        return {what: count for what, count in {**by_stage, "decoded pixels": pixels}.items() if count}

    freed_s = wait_until(lambda: not held(), FREE_S)
    memory_s = wait_until(lambda: running.locker_bytes() == 0, FREE_S + 6)
    return Finding(
        f"once the {stage} goes on, no stage holds a picture, and no memory between them is taken",
        f"free after {freed_s:.1f} s" if freed_s is not None and memory_s is not None else f"held: {held()}",
        freed_s is not None and memory_s is not None,
    )


def prove(folder: Path, effort: Effort) -> Proof:
    """Every stage in turn."""
    found = []
    with victim(folder, effort.config, FACE_API_REQUEST_TIMEOUT_S=f"{TIMEOUT_S:g}") as running:
        found.append(answers_again(running))
        for stage in STAGES:
            found += after_the_deadline(running, stage)
            found += after_leaving(running, stage)
        found.append(answers_again(running))
    return Proof([*found, running.leaves_nothing()])


DEADLINES: Final = Promise("deadlines", "Deadlines end work, and so does a client that leaves", prove)
