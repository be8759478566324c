"""No answer carries another request's data: pairwise different pictures at once, stages killed meanwhile."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp

from loadtests.torture.client import BROKEN, POISONED, Answer, client, post
from loadtests.torture.coded import Coded, make_coded, wrong_with_detection, wrong_with_mask
from loadtests.torture.promise import Effort, Finding, Promise, Proof
from loadtests.torture.victim import Victim, victim

KILLED: Final = ("Decoder", "Detector", "Masker", "Ingress")
ROUNDS: Final = 3
"""How often each of them is killed."""
STORED_EVERY: Final = 20
"""One in so many is stored, and compared with what it was made of at the end."""
FORMATS: Final = ("jpeg", "png", "webp")
MOST_TRIES: Final = 60
PAUSE_S: Final = 1.0
"""What Retry-After asks for."""


@dataclass
class Tally:
    """What came of all requests."""

    answered: int = 0
    tries: int = 0
    failures: Counter[str] = field(default_factory=Counter)  # honest ones, by status
    refused: int = 0  # pictures that were in too many decoders when those were killed
    given_up: int = 0
    wrong: list[str] = field(default_factory=list)
    dishonest: list[str] = field(default_factory=list)
    stored: dict[str, Coded] = field(default_factory=dict)  # image id -> what it was made of
    killed: Counter[str] = field(default_factory=Counter)

    @property
    def done(self) -> int:
        """Pictures that are sent no more."""
        return self.answered + self.refused + self.given_up

    def take(self, coded: Coded, route: str, answer: Answer) -> bool:
        """Judge one answer; whether the picture is done with."""
        self.tries += 1
        if answer.status == 200:
            self.answered += 1
            wrong = _wrong(coded, route, answer)
            if wrong is not None:
                self.wrong.append(f"picture {coded.number}, /{route}: {wrong}")
            return True
        self.failures[answer.label] += 1
        if not answer.is_honest_failure:
            self.dishonest.append(f"/{route}: {answer.status} {answer.body[:200]!r}")
        if answer.status != BROKEN and POISONED in (answer.detail() or ""):
            self.refused += 1
            return True
        return False


def _wrong(coded: Coded, route: str, answer: Answer) -> str | None:
    if route == "mask":
        return wrong_with_mask(coded, answer.body)
    try:
        return wrong_with_detection(coded, answer.json())
    except (ValueError, KeyError, TypeError) as error:
        return f"an answer that cannot be read ({type(error).__name__})"


async def drive(running: Victim, requests: int, clients: int, killed: Sequence[str], seed: int = 0) -> Tally:
    """Send so many pictures with so many clients, killing one process of each part in turn."""
    tally = Tally()
    numbers = iter(range(requests))
    async with client(running.url, running.headers) as session:

        async def one_client() -> None:
            for number in numbers:
                await _one(session, tally, number, seed)

        killing = asyncio.create_task(_kill(running, tally, requests, killed))
        await asyncio.gather(*(one_client() for _ in range(clients)))
        await killing
        await _compare_stored(running, tally)
    return tally


async def _one(session: aiohttp.ClientSession, tally: Tally, number: int, seed: int) -> None:
    """One picture until it is answered."""
    coded = await asyncio.to_thread(make_coded, number, seed)
    route = ("detect", "mask")[number % 2]
    query = coded.query
    if route == "mask":
        query |= {"method": "solid", "format": FORMATS[number % len(FORMATS)]}
    is_stored = number % STORED_EVERY < 2
    query["store"] = "both" if is_stored else "none"
    for _ in range(MOST_TRIES):
        answer = await post(session, f"/api/v1/{route}", coded.data, query)
        if await asyncio.to_thread(tally.take, coded, route, answer):
            if is_stored and (image_id := answer.image_id):
                tally.stored[image_id] = coded
            return
        await asyncio.sleep(PAUSE_S)
    tally.given_up += 1


async def _kill(running: Victim, tally: Tally, requests: int, killed: Sequence[str]) -> None:
    """Kill one of each in turn, spread evenly over the requests."""
    for turn, part in enumerate(killed):
        while tally.done < requests * (turn + 0.5) / len(killed):  # noqa: ASYNC110 - many may end the wait
            await asyncio.sleep(0.05)
        processes = await asyncio.to_thread(running.part, part)
        for process in processes[:1]:
            process.kill()
            tally.killed[part] += 1


async def _compare_stored(running: Victim, tally: Tally) -> None:
    """Whether what was stored under each id is what was sent."""
    async with aiohttp.ClientSession(running.url, headers=running.admin_headers) as session:
        for image_id, coded in tally.stored.items():
            async with session.get(f"/api/v1/admin/images/{image_id}/content") as response:
                body = await response.read()
            if response.status != 200 or body != coded.data:
                tally.wrong.append(f"picture {coded.number} is not what is stored ({response.status})")


def findings(tally: Tally, requests: int) -> list[Finding]:
    """What a run shows."""
    kills = ", ".join(f"{part} {count}" for part, count in tally.killed.items()) or "none"
    return [
        Finding(
            f"each of {requests} pictures got its own answer, or none",
            f"{tally.answered} answers checked, {len(tally.wrong)} wrong"
            + "".join(f"; {text}" for text in tally.wrong[:5]),
            not tally.wrong and tally.answered > 0,
        ),
        Finding(
            "every failure is an error that says so (503 with Retry-After, 504, or no answer at all)",
            f"{tally.failures.total()} failures {json.dumps(tally.failures)}, {len(tally.dishonest)} others"
            + "".join(f"; {text}" for text in tally.dishonest[:5]),
            not tally.dishonest,
        ),
        Finding(
            "whoever tries again is answered, unless the picture was in two decoders that were killed",
            f"{tally.answered + tally.refused} of {requests} pictures done after {tally.tries} tries, "
            f"{tally.refused} refused as what ends decoders",
            tally.answered + tally.refused == requests and tally.refused < requests / 100 + 5,
        ),
        Finding(
            "what is stored under an answer's id is that picture",
            f"{len(tally.stored)} compared",
            bool(tally.stored),
        ),
        Finding("replicas were killed meanwhile", kills, tally.killed.total() > 0),
    ]


def prove(folder: Path, effort: Effort) -> Proof:
    """The whole of it."""
    with victim(folder, effort.config) as running:
        began_s = time.monotonic()
        killed = KILLED * ROUNDS
        tally = asyncio.run(drive(running, effort.requests, effort.clients, killed, effort.seed))
        took_s = time.monotonic() - began_s
    note = f"{effort.clients} clients, {took_s:.0f} s, {tally.answered / took_s:.0f} answers a second"
    return Proof([*findings(tally, effort.requests), running.leaves_nothing()], [note])


OWN_ANSWERS: Final = Promise("own-answers", "No answer carries another request's data", prove)
