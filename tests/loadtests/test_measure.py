import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from loadtests.measure import Effort, Measurement, Target
from loadtests.pictures import Picture
from loadtests.scenarios import Scenario, chosen

ANSWER = b'{"image_id":null,"profiling":{"decode_ms":1.0,"queue_ms":0.5,"batch_size":2,"total_ms":2.0}}'
QUICK = Effort(clients=2, closed_s=1, open_s=1.0, long_s=1.0, curve_s=0.5)
PICTURE = [Picture("p", b"picture", "image/jpeg")]


class Stub(BaseHTTPRequestHandler):
    """Answers uploads like /detect; the admin API with an empty object."""

    protocol_version = "HTTP/1.1"
    asked: list[str]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(ANSWER, 200 if self.headers["X-API-Key"] == "key" else 401)

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.answer(b"{}", 200)

    def answer(self, body: bytes, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def stub() -> Iterator[str]:
    Stub.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stub)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("has_wrk", [True, False])
def test_a_scenario_is_driven_in_both_loops_and_along_its_curve(
    stub: str, has_wrk: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_wrk:
        monkeypatch.setenv("PATH", "")
    measurement = Measurement(Target(stub, "key"), QUICK, say=lambda _: None)
    (plain,) = chosen(["detect"])
    measurement.scenario(plain, PICTURE, with_curve=True)
    closed, opened = measurement.runs
    assert (closed.loop, opened.loop) == ("closed", "open")
    assert closed.answers > 10
    assert closed.errors == opened.errors == 0
    assert opened.load == pytest.approx(closed.rate * 0.6)
    assert opened.stages_ms == {"decode": 1.0, "queue": 0.5, "total": 2.0}
    assert set(opened.batch_sizes) == {"2"}
    loads = [point.load for point in measurement.curves]
    assert loads == sorted(loads)
    assert loads[-1] == pytest.approx(closed.rate)
    assert [run.load for run in measurement.at_random] == pytest.approx(
        [closed.rate * share for share in (0.5, 0.6, 0.7)]
    )
    assert all(run.answers > 0 for run in measurement.at_random)


def test_admin_traffic_goes_beside_it(stub: str) -> None:
    measurement = Measurement(Target(stub, "key", ("admin", "secret")), QUICK, say=lambda _: None)
    scenario = Scenario("mixed", "admin", "detect", admin_rate=10.0)
    measurement.scenario(scenario, PICTURE, with_curve=False)
    assert measurement.runs[1].admin["failures"] == 0
    assert {path.split("?")[0] for path in Stub.asked} >= {"/api/v1/admin/stats", "/api/v1/admin/jobs"}


@pytest.mark.parametrize(
    ("target_key", "scenario", "said"),
    [("wrong", "detect", "answers 401"), ("key", "detect, stored", "stored nothing")],
)
def test_what_is_not_what_was_meant_is_not_measured(
    stub: str, target_key: str, scenario: str, said: str
) -> None:
    measurement = Measurement(Target(stub, target_key), QUICK, say=lambda _: None)
    (wanted,) = chosen([scenario])
    with pytest.raises(SystemExit, match=said):
        measurement.scenario(wanted, PICTURE, with_curve=False)
