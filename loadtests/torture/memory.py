"""Memory stays within what the Ray config says: the largest pictures that are accepted, a hundred at once."""

import asyncio
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from loadtests.pictures import head
from loadtests.torture.client import Answer, client, post
from loadtests.torture.promise import Effort, Finding, Promise, Proof
from loadtests.torture.victim import Victim, victim
from serve_app.launcher import DEFAULT_CONFIG

AT_ONCE: Final = 100
WIDTH, HEIGHT = 8160, 6120
"""49.9 megapixels: FACE_API_MAX_IMAGE_PIXELS is 50 million."""
QUALITY: Final = 80
TIMEOUT_S: Final = 80.0
"""So long that most are answered on two cores: what gives up early takes little."""
SAMPLE_S: Final = 0.25
BUDGET: Final = re.compile(r"^# Memory: at most ([\d.]+) GiB", re.MULTILINE)


def budget_bytes(config: Path) -> int:
    """The memory budget that a Ray config names in its head; SystemExit when it names none."""
    found = BUDGET.search(config.read_text())
    if found is None:
        raise SystemExit(f"{config} does not say '# Memory: at most N GiB'; docs/scaling.md has the sum")
    return round(float(found[1]) * 2**30)


def largest_picture() -> bytes:
    """A JPEG of 49.9 megapixels with one face, small enough to be sent a hundred times."""
    rough = np.random.default_rng(0).normal(120.0, 50.0, (24, 32, 3)).astype(np.float32)
    pixels = np.clip(cv2.resize(rough, (WIDTH, HEIGHT)), 0, 255).astype(np.uint8)
    side = HEIGHT // 3
    pixels[side : 2 * side, side : 2 * side] = head(side)
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


class Watch:
    """What a service takes, from time to time."""

    def __init__(self, running: Victim, every_s: float) -> None:
        self.peak_bytes = self.peak_lockers = 0
        self._running = running
        self._every_s = every_s
        self._ended = threading.Event()

    @contextmanager
    def looking(self) -> Iterator["Watch"]:
        """For as long as the block lasts."""
        thread = threading.Thread(target=self._look)
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            thread.join()

    def _look(self) -> None:
        while True:
            self.peak_lockers = max(self.peak_lockers, self._running.locker_bytes())
            self.peak_bytes = max(self.peak_bytes, self._running.memory_bytes())
            if self._ended.wait(self._every_s):
                return


async def _at_once(running: Victim, picture: bytes, count: int) -> list[Answer]:
    query = {"method": "solid", "store": "none"}
    async with client(running.url, running.headers) as session:
        return await asyncio.gather(*(post(session, "/api/v1/mask", picture, query) for _ in range(count)))


def prove(folder: Path, effort: Effort) -> Proof:
    """A hundred at once, and the most that was taken meanwhile."""
    picture = largest_picture()
    budget = budget_bytes(effort.config or DEFAULT_CONFIG) + AT_ONCE * len(picture)
    with victim(folder, effort.config, FACE_API_REQUEST_TIMEOUT_S=f"{TIMEOUT_S:g}") as running:
        before = {part: running.part(part) for part in ("Ingress", "Decoder", "Detector", "Masker")}
        idle_bytes = running.memory_bytes()
        with Watch(running, SAMPLE_S).looking() as watch:
            answers = asyncio.run(_at_once(running, picture, AT_ONCE))
        is_whole = all(running.part(part) == processes for part, processes in before.items())
        (after,) = asyncio.run(_at_once(running, picture, 1))
    statuses = Counter(answer.label for answer in answers)
    good = statuses["200"]
    others = [answer for answer in answers if answer.status != 200]
    found = [
        Finding(
            f"{AT_ONCE} pictures of 50 MP at once take no more than the config and their uploads say: "
            f"{_gib(budget)}",
            f"at most {_gib(watch.peak_bytes)}, {_gib(watch.peak_lockers)} of it between the stages; "
            f"{_gib(idle_bytes)} when idle",
            watch.peak_bytes <= budget,
        ),
        Finding(
            "each is masked, or says that it is not",
            f"{dict(statuses)}",
            good > 0 and all(answer.is_honest_failure for answer in others),
        ),
        Finding(
            "no process ends, and the next picture is masked",
            f"{'all as before' if is_whole else 'a replica ended'}; {after.label}",
            is_whole and after.status == 200,
        ),
        running.leaves_nothing(),
    ]
    return Proof(found, [f"{len(picture) / 2**20:.1f} MiB each"])


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"


MEMORY: Final = Promise("memory", "Megapixels are bounded, not only requests", prove)
