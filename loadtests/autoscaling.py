"""A ramp up and down against a service with an autoscaling config, and how many replicas it had meanwhile.

    python -m loadtests.autoscaling --image photo.jpg --api-key "$KEY" --most 24 --step-s 10

One JSON line each second: seconds, clients, replicas and pictures in flight of each stage, answers, failures.
Exit code 1 when a request failed, or when no stage had more replicas under load than before and after it.
Clients are a closed loop of threads (loadtests.throughput's way), their number rises and falls in steps.
"""

import http.client
import json
import sys
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from loadtests.scrape import Scrape, service_parser

STAGES = ("Decoder", "Detector", "Masker")
STEPS = (1, 2, 4, 8)
"""Of the ramp: a share 1/8, 2/8, 4/8 and all of the clients, then back."""


@dataclass
class Clients:
    """Threads that send one request after the other, as many as are wanted now."""

    url: str
    route: str
    body: bytes
    api_key: str
    wanted: int = 0
    answered: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    threads: list[threading.Thread] = field(default_factory=list)

    def resize(self, wanted: int) -> None:
        """Have so many clients from now on."""
        self.wanted = wanted
        for number in range(len(self.threads), wanted):
            thread = threading.Thread(target=self._run, args=(number,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def _run(self, number: int) -> None:
        target = urlsplit(self.url)
        connection = http.client.HTTPConnection(target.hostname or "127.0.0.1", target.port, timeout=60)
        headers = {"Content-Type": "image/jpeg", **({"X-API-Key": self.api_key} if self.api_key else {})}
        while True:
            if number >= self.wanted:
                time.sleep(0.05)
                continue
            try:
                connection.request("POST", f"/api/v1/{self.route}", self.body, headers)
                response = connection.getresponse()
                response.read()
                what = "" if response.status == 200 else str(response.status)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                what = type(error).__name__
            with self.lock:
                if what:
                    self.failures[what] = self.failures.get(what, 0) + 1
                else:
                    self.answered += 1


def main() -> int:
    """Ramp, watch, judge."""
    parser = service_parser(__doc__)
    parser.add_argument("--route", choices=("detect", "mask"), default="mask")
    parser.add_argument("--most", type=int, default=24, help="clients at the top of the ramp")
    parser.add_argument("--step-s", type=float, default=10.0, help="how long each step of the ramp lasts")
    parser.add_argument("--after-s", type=float, default=60.0, help="how long to wait for replicas to go")
    given = parser.parse_args()
    clients = Clients(given.url, given.route, given.image.read_bytes(), given.api_key)
    shares = (*STEPS, *reversed(STEPS[:-1]))
    began = time.monotonic()
    replicas: dict[str, list[int]] = {stage: [] for stage in STAGES}
    top = 0
    while (elapsed := time.monotonic() - began) < len(shares) * given.step_s + given.after_s:
        step = int(elapsed / given.step_s)
        clients.resize(max(1, given.most * shares[step] // STEPS[-1]) if step < len(shares) else 1)
        now = Scrape.of(given.metrics)
        for stage in STAGES:
            replicas[stage].append(int(now.total("face_api_replicas", deployment=stage)))
        line = {
            "seconds": round(elapsed, 1),
            "clients": clients.wanted,
            "replicas": {stage: counts[-1] for stage, counts in replicas.items()},
            "in_flight": {s: now.total("face_api_stage_in_flight", deployment=s) for s in STAGES},
            "answered": clients.answered,
            "failures": dict(clients.failures),
        }
        print(json.dumps(line), flush=True)
        top = max(top, *(counts[-1] for counts in replicas.values()))
        time.sleep(1.0)
    scaled = [s for s, counts in replicas.items() if max(counts) > max(counts[0], counts[-1])]
    print(json.dumps({"scaled_up_and_down": scaled, "failures": clients.failures, "most_replicas": top}))
    return 0 if scaled and not clients.failures else 1


if __name__ == "__main__":
    sys.exit(main())
