import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from loadtests.upload import multipart
from loadtests.wrk import parse, wrk_for

OUTPUT = """Running 2s test @ http://127.0.0.1:9000/detect
  1 threads and 8 connections
Requests/sec:     49.51

{"requests":100,"refused":5,"sheds":3,"lost":2,"duration_us":2000000,"percentiles_us":{"50":20500,"90":30000,"99":41000,"99.9":50000}}
"""


def test_the_last_line_of_wrk_is_read() -> None:
    driven = parse(OUTPUT)
    assert (driven.answers, driven.sheds, driven.errors, driven.seconds) == (95, 3, 4, 2.0)
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
    assert driven.sheds == pytest.approx(driven.answers / 2, rel=0.2)
    assert driven.errors == 0
    assert driven.seconds == pytest.approx(1, rel=0.2)
    assert 0 < driven.p50_ms <= driven.p99_ms
    assert Stub.bodies == {upload.body}
    assert len(Stub.connections) == 1  # kept open


def test_without_wrk_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match="apt-get install wrk"), wrk_for(multipart(b"x")):
        pass


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_wrk_opens_a_connection_for_each_request_and_takes_bodies_in_turn(stub: str) -> None:
    Stub.bodies.clear()
    Stub.connections.clear()
    before = Stub.count
    with wrk_for(multipart(b"one"), multipart(b"two")) as wrk:
        driven = wrk.drive(stub, connections=1, seconds=1, keep_alive=False)
    assert driven.answers > 10
    assert Stub.bodies == {multipart(b"one").body, multipart(b"two").body}
    assert len(Stub.connections) > (Stub.count - before) / 2  # a port may come again
