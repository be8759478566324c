import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from deployments import tracing
from deployments.calls import Callee, Caller
from deployments.transport import host_id
from tests.otlp_receiver import Receiver, otlp_receiver


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with otlp_receiver() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.endpoint)
        tracing.configure("Test")
        yield running
        tracing.shut_down()


@pytest.mark.parametrize("variable", ["", "OTEL_SDK_DISABLED"])
def test_nothing_is_imported_unless_a_collector_is_named(variable: str) -> None:
    code = (
        "import sys; from deployments import calls, tracing; tracing.configure('Test')\n"
        "with tracing.span('a', None): assert tracing.current() is None and tracing.trace_id() is None\n"
        "assert not any(name.startswith('opentelemetry') for name in sys.modules)"
    )
    environment = {"PYTHONPATH": ":".join(sys.path)}
    if variable:
        environment |= {variable: "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@pytest.mark.skipif(not host_id(), reason="no shared memory on this platform")
async def test_a_call_through_a_socket_is_part_of_its_request(receiver: Receiver, session: str) -> None:
    async def work(value: int) -> int:
        began_s = time.perf_counter()
        await asyncio.sleep(0.05)
        tracing.add_stages(began_s, {"queue": 10.0, "decode": 40.0}, width=7)
        return value

    callee = Callee(session, "Echo", {"work": work})
    await callee.start()
    caller = Caller(session, "Echo")
    assert await caller.has_callee()

    async def request(number: int) -> str | None:
        with tracing.span(f"request {number}", None, is_entry=True):
            assert await caller.call("work", number) == number
            return tracing.trace_id()

    traces = await asyncio.gather(*(request(number) for number in range(3)))
    await callee.stop()
    caller.close()
    await asyncio.to_thread(tracing.shut_down)
    assert len(set(traces)) == 3
    for number, trace_id in enumerate(traces):
        assert trace_id is not None
        spans = receiver.of_trace(trace_id, f"request {number}", "Echo.work", "queue", "decode")
        assert spans["Echo.work"].parent_id == spans[f"request {number}"].span_id
        assert spans["Echo.work"].attributes == {"width": 7}
        for stage, length_ms in (("queue", 10), ("decode", 40)):
            assert spans[stage].parent_id == spans["Echo.work"].span_id
            assert spans[stage].ended_ns - spans[stage].began_ns == length_ms * 1_000_000
        assert spans["queue"].ended_ns == spans["decode"].began_ns


def test_a_collector_that_does_not_answer_holds_no_stop_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(tracing, "FLUSH_TIMEOUT_S", 0.1)
        tracing.configure("Test")
        with tracing.span("a", None):
            pass
        tracing.shut_down()  # returns while the sender still waits
        assert any("shutdown" in str(getattr(t, "_target", "")) for t in threading.enumerate())
    assert not tracing.is_on()


def test_what_a_client_traces_is_continued(receiver: Receiver) -> None:
    trace_id, parent_id = "1" * 32, "2" * 16
    with tracing.span("request", f"00-{trace_id}-{parent_id}-01", is_entry=True):
        assert tracing.trace_id() == trace_id
        assert (tracing.current() or "").startswith(f"00-{trace_id}-")
    tracing.shut_down()
    assert receiver.of_trace(trace_id, "request")["request"].parent_id == parent_id
