"""Do the service's metrics agree with what a client counted? Exit code 1 when they do not.

    python -m loadtests.agreement --image photo.jpg --api-key "$KEY" --concurrency 4 --seconds 20

Requests and refusals must agree exactly, medians of the time within 10 %. Nobody else may send requests
meanwhile. The client is Python threads (loadtests.throughput): few are enough for two cores.
"""

import json
import sys

import numpy as np

from loadtests.scrape import Scrape, service_parser
from loadtests.throughput import over_http

ROUTES = ("detect", "mask")
TOLERANCE = 0.1


def main() -> int:
    """Load both routes, and send some garbage; compare."""
    parser = service_parser(__doc__)
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=20.0)
    given = parser.parse_args()
    is_agreed = True
    for route in ROUTES:
        for body, kind in ((given.image.read_bytes(), "pictures"), (b"no picture", "garbage")):
            before = Scrape.of(given.metrics)
            seconds = given.seconds if kind == "pictures" else 1.0
            seen = over_http(given.url, route, body, given.concurrency, seconds, given.api_key)
            path = f"/api/v1/{route}"
            served = Scrape.of(given.metrics).since(before)
            line: dict[str, object] = {
                "route": route,
                "sent": kind,
                "client": {"answered": len(seen.latencies_ms), "failed": seen.failures},
                "service": {
                    "answered": served.total("face_api_requests_total", route=path, status="200"),
                    "failed": served.total("face_api_requests_total", route=path)
                    - served.total("face_api_requests_total", route=path, status="200"),
                },
            }
            is_agreed &= line["client"] == line["service"]
            if seen.latencies_ms:
                mine = float(np.median(seen.latencies_ms))
                name = "face_api_request_seconds"
                theirs = served.quantile(0.5, name, route=path, status_class="2xx") * 1e3
                line["p50_ms"] = {"client": round(mine, 2), "service": round(theirs, 2)}
                is_agreed &= abs(theirs - mine) <= TOLERANCE * mine
            print(json.dumps(line), flush=True)
    print("they agree" if is_agreed else "they do not agree")
    return 0 if is_agreed else 1


if __name__ == "__main__":
    sys.exit(main())
