import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loadtests.compare.servers import Launch, Server
from loadtests.cores import main
from tests.loadtests.stub_server import stub_server


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_a_row_names_the_rate_the_shares_and_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def start_stub(name: str, model: str, launch: Launch) -> Iterator[Server]:
        assert (name, model, launch.config) == ("ours", "scrfd_500m", Path("some.yaml"))
        with stub_server(name, tmp_path) as server:
            yield server

    monkeypatch.setattr("loadtests.cores.running", start_stub)
    arguments = ["--model", "scrfd_500m", "--config", "some.yaml", "--routes", "detect"]
    main([*arguments, "--concurrency", "1", "2", "--seconds", "1", "--rounds", "1"])
    head, *lines = capsys.readouterr().out.strip().splitlines()
    assert head.endswith("stub, none")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[3:]]
    assert [(row[0], row[1], row[5], row[6]) for row in rows] == [
        ("detect", "1", "0", "2"),
        ("detect", "2", "0", "2"),
    ]
    for row in rows:
        assert float(row[2]) > 20
        assert row[7] == "queue 20%, inference 60%"
        found = re.search(r"Ray and launcher ([\d.]+)", row[8])
        assert found is not None
        assert 0 < float(found[1]) < 2
