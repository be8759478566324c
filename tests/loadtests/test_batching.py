import re
from pathlib import Path

import numpy as np
import pytest

from deployments.decoding.decode import decode
from loadtests.batching import DISTINCT, copies, main
from loadtests.pictures import astronaut
from models.scrfd import Scrfd
from serve_app.settings import load_settings
from tests.tiny_scrfd import write_tiny_scrfd


def test_every_size_is_measured_both_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FACE_API_DATA_DIR", str(tmp_path))
    model = str(write_tiny_scrfd(tmp_path / "tiny.onnx"))
    main(["--model", model, "--provider", "cpu", "--sizes", "1", "3", "--seconds", "0.1", "--rounds", "1"])
    said = capsys.readouterr().out
    assert said.startswith("tiny, ")
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\d+) \(([\d.]+) of the best bare\) \|$", said, re.MULTILINE)
    assert [row[0] for row in rows] == ["1", "3"]
    best = max(int(row[1]) for row in rows)
    for _, alone, queued, share in rows:
        assert int(alone) > 0
        assert float(share) == pytest.approx(int(queued) / best, abs=0.02)


def test_copies_are_equal_and_apart(tmp_path: Path) -> None:
    settings = load_settings(
        model=str(write_tiny_scrfd(tmp_path / "tiny.onnx")), provider="cpu", data_dir=tmp_path
    )
    picture = astronaut()
    canvases = copies(picture, Scrfd.load(settings.scrfd_options()))
    expected = decode(picture, max_pixels=10**9, keep_picture=False).canvas.pixels
    assert len({canvas.pixels.ctypes.data for canvas in canvases}) == len(canvases) == DISTINCT
    assert all(np.array_equal(canvas.pixels, expected) for canvas in canvases)
