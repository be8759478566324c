"""OpenTelemetry spans of requests and their stages, where OTEL_EXPORTER_OTLP_ENDPOINT names a collector.

Without that variable nothing is imported, and what is left is one `if`. All OTEL_* variables that the SDK
knows apply, such as OTEL_TRACES_SAMPLER. A context crosses processes as a W3C `traceparent`.
"""

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
SERVICE: Final = "face-api"
FLUSH_TIMEOUT_S: Final = 2.0

_tracer: Any = None  # None: tracing is off
_provider: Any = None
_propagator: Any = None
_api: Any = None


def configure(deployment: str) -> None:
    """Send this process's spans to the collector, where one is named; once in each process."""
    global _tracer, _provider, _propagator, _api  # noqa: PLW0603 - of this process
    if _tracer is not None or not any(os.environ.get(name) for name in ENDPOINTS):
        return
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return
    from opentelemetry import trace  # noqa: PLC0415 - only where it is used
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    name = os.environ.get("OTEL_SERVICE_NAME") or SERVICE
    resource = Resource.create({SERVICE_NAME: name, "service.instance.id": f"{deployment}-{os.getpid()}"})
    _provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _api, _propagator = trace, TraceContextTextMapPropagator()
    _tracer = _provider.get_tracer(SERVICE)


def is_on() -> bool:
    """Whether spans are recorded in this process."""
    return _tracer is not None


def shut_down() -> None:
    """Send what was recorded; waits for the collector, but not long."""
    global _tracer, _provider  # noqa: PLW0603 - of this process
    if _provider is not None:
        sender = threading.Thread(
            target=_provider.shutdown, daemon=True
        )  # tries for 10 s without a collector
        sender.start()
        sender.join(FLUSH_TIMEOUT_S)
        _tracer = _provider = None


def current() -> str | None:
    """The span this code runs in, as another process can continue it; None while tracing is off."""
    if _tracer is None:
        return None
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent")


@contextmanager
def span(name: str, parent: str | None, *, is_entry: bool = False) -> Iterator[Any]:
    """A span around what this code and its tasks do; yields None while tracing is off.

    Args:
        name: As it is shown.
        parent: What `current` said in another process, or a client's header; None: the one around it, if any.
        is_entry: It serves a request from outside.
    """
    if _tracer is None:
        yield None
        return
    context = _propagator.extract({"traceparent": parent}) if parent else None
    kind = _api.SpanKind.SERVER if is_entry else _api.SpanKind.INTERNAL
    with _tracer.start_as_current_span(name, context, kind, record_exception=False) as started:
        yield started


def add_stages(began_s: float, stages: Mapping[str, float], **attributes: str | float) -> None:
    """Spans of what was measured anyway, one behind the other, in the span this code runs in.

    Args:
        began_s: time.perf_counter() at the beginning of the first.
        stages: Milliseconds by name.
        attributes: Of the surrounding span.
    """
    if _tracer is None:
        return
    at_ns = time.time_ns() - int((time.perf_counter() - began_s) * 1e9)
    for name, milliseconds in stages.items():
        stage = _tracer.start_span(name, start_time=at_ns)
        at_ns += int(milliseconds * 1e6)
        stage.end(at_ns)
    _api.get_current_span().set_attributes(attributes)


def trace_id() -> str | None:
    """Of the request this code works on, as a log line names it; None while tracing is off."""
    if _tracer is None:
        return None
    return f"{_api.get_current_span().get_span_context().trace_id:032x}"
