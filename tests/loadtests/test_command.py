import json
import shutil
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
from tests.loadtests.stub_server import stub_server


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_every_server_is_driven_in_every_round_and_none_is_left(tmp_path: Path) -> None:
    trees: list[ProcessTree] = []

    @contextmanager
    def start_stub(name: str, _: str, __: Launch) -> Iterator[Server]:
        with stub_server(name, tmp_path) as server:
            trees.append(server.tree)
            yield server

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
