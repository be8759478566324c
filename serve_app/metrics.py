"""Prometheus metrics of this process, and the endpoint that shows those of every process of the machine.

Where PROMETHEUS_MULTIPROC_DIR names a folder, as `face-api serve` sets it, each process counts into a file
of that folder, and whichever ingress replica is asked adds them up.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Metric, make_asgi_app
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

REGISTRY: Final = CollectorRegistry()

REQUESTS: Final = Counter("face_api_requests", "Answered requests.", ["route", "status"], registry=REGISTRY)
DATABASE_UP: Final = Gauge(
    "face_api_database_up",
    "1 while PostgreSQL answers this ingress replica.",
    ["replica"],
    registry=REGISTRY,
    multiprocess_mode="livemin",
)
KEY_LOOKUPS: Final = Counter(
    "face_api_key_lookups",
    "API keys looked up: cached, grace (cached, database away), database, unknown.",
    ["source"],
    registry=REGISTRY,
)
KEY_USAGE_LOST: Final = Counter(
    "face_api_key_usage_lost", "Counted requests that could not be written.", registry=REGISTRY
)
STORAGE_FAILURES: Final = Counter(
    "face_api_storage_failures",
    "Pictures that were to be kept and were not, by reason; `busy`: too many at once.",
    ["reason"],
    registry=REGISTRY,
)
LIMITED: Final = Counter(
    "face_api_rate_limited", "Requests refused by a rate limit.", ["route"], registry=REGISTRY
)
LIMITER_UP: Final = Gauge(
    "face_api_limiter_up",
    "1 while the shared limiter answers this ingress replica, 0 under a local share.",
    ["replica"],
    registry=REGISTRY,
    multiprocess_mode="livemin",
)
REPLICA: Final = str(os.getpid())
"""Labels what differs between replicas of one machine."""


class MachineMetrics(Collector):
    """The metrics of every process of this service on this machine, and none of Ray's own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        """Every metric of ours; gauges of processes that have ended are forgotten."""
        for path in self._folder.glob("gauge_live*_*.db"):
            try:
                os.kill(int(path.stem.rpartition("_")[2]), 0)
            except ProcessLookupError:
                path.unlink(missing_ok=True)
        merged = MultiProcessCollector(None, str(self._folder)).collect()  # type: ignore[no-untyped-call]
        return (metric for metric in merged if metric.name.startswith("face_api_"))


def metrics_app() -> Any:  # noqa: ANN401 - an ASGI application without types
    """The ASGI application of the metrics endpoint."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is None:
        return make_asgi_app(REGISTRY)
    registry = CollectorRegistry()
    registry.register(MachineMetrics(Path(folder)))
    return make_asgi_app(registry)
