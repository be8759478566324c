import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from loadtests.compare.upload import multipart
from loadtests.compare.wrk import parse, wrk_for

OUTPUT = """Running 2s test @ http://127.0.0.1:9000/detect
  1 threads and 8 connections
Requests/sec:     49.51

{"requests":100,"refused":3,"lost":2,"duration_us":2000000,"p50_us":20500,"p99_us":41000}
"""


def test_the_last_line_of_wrk_is_read() -> None:
    driven = parse(OUTPUT)
    assert (driven.answers, driven.failures, driven.seconds) == (97, 5, 2.0)
    assert (driven.p50_ms, driven.p99_ms) == (20.5, 41.0)


@pytest.mark.parametrize("output", ["", "Running 2s test\n", "[1]\n"])
def test_other_output_is_an_error(output: str) -> None:
    with pytest.raises(ValueError):
        parse(output)


class Stub(BaseHTTPRequestHandler):
    """Answers every third request with 503."""

    protocol_version = "HTTP/1.1"
    bodies: ClassVar[set[bytes]] = set()
    connections: ClassVar[set[tuple[str, int]]] = set()
    count = 0

    def do_POST(self) -> None:
        type(self).count += 1
        self.bodies.add(self.rfile.read(int(self.headers["Content-Length"])))
        self.connections.add(self.client_address)
        self.send_response(503 if self.count % 3 == 0 else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def stub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/detect"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_wrk_sends_the_upload_over_one_connection_and_counts_refusals(stub: str) -> None:
    upload = multipart(bytes(range(256)) * 500)
    with wrk_for(upload) as wrk:
        driven = wrk.drive(stub, connections=1, seconds=1)
    assert driven.answers > 10
    assert driven.failures == pytest.approx(driven.answers / 2, rel=0.2)
    assert driven.seconds == pytest.approx(1, rel=0.2)
    assert 0 < driven.p50_ms <= driven.p99_ms
    assert Stub.bodies == {upload.body}
    assert len(Stub.connections) == 1  # kept open


def test_without_wrk_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match="apt-get install wrk"), wrk_for(multipart(b"x")):
        pass
