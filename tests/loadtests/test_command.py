import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loadtests.compare.__main__ import Comparison, parse_arguments
from loadtests.compare.processes import ProcessTree
from loadtests.compare.report import table
from loadtests.compare.servers import Launch, Server
from loadtests.upload import multipart
from loadtests.wrk import wrk_for
from serve_app.advise.trial import free_port

STUB = """
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        started = time.thread_time()
        while time.thread_time() - started < 0.003:  # the kernel counts in hundredths of a second
            pass
        answer = b'{"detections": [1, 2], "boxes": [1, 2]}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass

server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print("ready", flush=True)
server.serve_forever()
"""


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_every_server_is_driven_in_every_round_and_none_is_left(tmp_path: Path) -> None:
    trees: list[ProcessTree] = []

    @contextmanager
    def start_stub(name: str, _: str, __: Launch) -> Iterator[Server]:
        port, log = free_port(), tmp_path / name
        with log.open("wb") as output:
            tree = ProcessTree([sys.executable, "-c", STUB, str(port)], {"PATH": "/usr/bin:/bin"}, output)
        try:
            while b"ready" not in log.read_bytes():
                assert tree.process.poll() is None
            trees.append(tree)
            yield Server(name, f"http://127.0.0.1:{port}", tree)
        finally:
            tree.stop(5.0)

    arguments = ["--routes", "detect", "--concurrency", "2", "--seconds", "1", "--rounds", "2"]
    options = parse_arguments([*arguments, "--warm-up", "1", "--no-bare", "--against", "uvicorn"])
    upload = multipart(b"a picture")
    with wrk_for(upload) as wrk:
        comparison = Comparison(options, wrk, upload, start_stub)
        comparison.run("scrfd_500m")

    assert [r.server for r in comparison.rounds] == ["ours", "uvicorn", "uvicorn", "ours"]
    for done in comparison.rounds:
        assert done.failures == 0
        assert done.rate > 20
        assert 0 < done.cpu_ms < 50
        assert done.peak_mib > 5
    assert "**ours ÷ uvicorn**" in table(comparison.rounds, [])
    assert len(json.loads(json.dumps(comparison.to_json()))["rounds"]) == 4
    assert [tree.members() for tree in trees] == [[], []]
