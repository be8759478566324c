"""GET /metrics: what every process of the service on this machine counted, in Prometheus's text formats.

Whichever ingress replica is asked reads the numbers of all; see `deployments.tally`.
"""

import asyncio
import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.metrics import METRICS, Gauge, Histogram, Metric
from deployments.tally import Labels, ProcessTally, Series, read_tallies
from serve_app.metrics import PROCESS_CPU, PROCESS_MEMORY
from serve_app.process_memory import PAGE_BYTES

PATH: Final = "/metrics"
TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")
MERGES: Final[dict[str, Callable[[Iterable[float]], float]]] = {"sum": sum, "min": min, "max": max}


def metrics_app(port: int) -> ASGIApp:
    """The ASGI application of the endpoint on this port."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] != PATH or scope["method"] not in {"GET", "HEAD"}:
            await Response(f"GET {PATH} is all there is\n", 404)(scope, receive, send)
            return
        encode, content_type = choose_encoder(Headers(scope=scope).get("accept", ""))
        try:
            body = await asyncio.to_thread(lambda: encode(_Families(families(*read_tallies(port)))))
        except OSError as error:
            sentence = f"processes cannot share their metrics: {error.strerror}\n"
            await Response(sentence, 503)(scope, receive, send)
            return
        await Response(body, headers={"Content-Type": content_type})(scope, receive, send)

    return app


def families(living: list[ProcessTally], ended: list[Series]) -> list[Family]:
    """Every metric that has a value: gauges of the living, all else of the ended too."""
    found: dict[str, dict[Labels, list[tuple[float, ...]]]] = defaultdict(lambda: defaultdict(list))
    for series in ended:
        if not isinstance(METRICS.get(series.metric), Gauge):
            found[series.metric][series.labels].append(series.values)
    for process in living:
        for series in [*process.series, *_process_series(process)]:
            found[series.metric][series.labels].append(series.values)
    return [_family(metric, found[name]) for name, metric in METRICS.items() if found.get(name)]


def _family(metric: Metric, found: dict[Labels, list[tuple[float, ...]]]) -> Family:
    family: Any
    if isinstance(metric, Histogram):
        family = HistogramMetricFamily(metric.name, metric.text, labels=metric.labels)
        for labels, parts in found.items():
            total, *counts = _sums(parts, metric.slots)
            bounds = [*(f"{bound:g}" for bound in metric.buckets), "+Inf"]
            family.add_metric(labels, list(zip(bounds, accumulate(counts), strict=True)), total)
        return family  # type: ignore[no-any-return]
    is_gauge = isinstance(metric, Gauge)
    family = (GaugeMetricFamily if is_gauge else CounterMetricFamily)(
        metric.name, metric.text, labels=metric.labels
    )
    merge = MERGES[metric.merge] if isinstance(metric, Gauge) else sum
    for labels, parts in found.items():
        family.add_metric(labels, merge(part[0] for part in parts))
    return family  # type: ignore[no-any-return]


def _sums(parts: list[tuple[float, ...]], slots: int) -> list[float]:
    """Slot by slot; a process of another version may have other buckets, and is left out."""
    return [sum(values) for values in zip(*(part for part in parts if len(part) == slots), strict=True)] or [
        0.0
    ] * slots


def _process_series(process: ProcessTally) -> list[Series]:
    """Processor time and memory, as the kernel counts them (proc(5))."""
    folder = Path("/proc") / str(process.pid)
    try:
        after_name = (folder / "stat").read_text().rpartition(")")[2].split()
        resident_pages = int((folder / "statm").read_text().split()[1])
    except OSError:
        return []  # it has just ended, or there is no /proc
    labels = (process.role, str(process.pid))
    ticks = int(after_name[11]) + int(after_name[12])  # user and system
    return [
        Series(PROCESS_CPU.name, labels, (ticks / TICKS_A_SECOND,)),
        Series(PROCESS_MEMORY.name, labels, (float(resident_pages * PAGE_BYTES),)),
    ]


class _Families:
    """What prometheus_client's encoders take for a registry."""

    def __init__(self, found: list[Family]) -> None:
        self._found = found

    def collect(self) -> list[Family]:
        return self._found
