"""A server of its own process that answers like /detect and takes 3 ms of processor for it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loadtests.compare.processes import ProcessTree
from loadtests.compare.servers import Server
from serve_app.advise.trial import free_port

STUB = """
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DETECTED = (
    b'{"detections": [1, 2], "boxes": [1, 2],'
    b' "profiling":{"queue_ms": 1.0, "inference_ms": 3.0, "batch_size": 2, "total_ms": 5.0}}'
)

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(b'{"model": "stub", "provider": "none"}')

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        started = time.thread_time()
        while time.thread_time() - started < 0.003:  # the kernel counts in hundredths of a second
            pass
        self.answer(DETECTED)

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print("ready", flush=True)
server.serve_forever()
"""


@contextmanager
def stub_server(name: str, folder: Path) -> Iterator[Server]:
    """One that answers; `name` is that of the server it stands for, its log lies in the folder."""
    port, log = free_port(), folder / name
    with log.open("wb") as output:
        tree = ProcessTree([sys.executable, "-c", STUB, str(port)], {"PATH": "/usr/bin:/bin"}, output)
    try:
        while b"ready" not in log.read_bytes():
            assert tree.process.poll() is None
        yield Server(name, f"http://127.0.0.1:{port}", tree)
    finally:
        tree.stop(5.0)
