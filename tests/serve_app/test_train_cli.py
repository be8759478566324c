"""`face-api models train` as a user runs it: whole, and with whatever may be wrong."""

import csv
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.manifest import OWN_MODEL
from serve_app import cli

TINY = ["--steps", "6", "--batch", "2", "--size", "64"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """20 labelled pictures with a white rectangle for a face, one of them with a label of nothing."""
    data, entries = tmp_path / "data", []
    data.mkdir()
    for number in range(20):
        pixels = np.zeros((96, 128, 3), np.uint8)
        x, y = 3 * number, 2 * number
        pixels[y : y + 30, x : x + 24] = 255
        cv2.imwrite(str(data / f"{number}.png"), pixels)
        entries.append({"file": f"{number}.png", "boxes_xywh": [[x, y, 24, 30]], "landmarks": None})
    entries.append({"file": "lost.png", "boxes_xywh": []})
    (data / "labels.json").write_text(json.dumps(entries))
    return data


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["face-api", "models", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.fixture
def torch() -> None:
    pytest.importorskip("torch", reason="the extra `train` is not installed: pip install '.[train]'")
    pytest.importorskip("matplotlib", reason="the extra `train` is not installed: pip install '.[train]'")


@pytest.mark.usefixtures("torch")
def test_a_folder_of_20_pictures_becomes_a_model(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs" / "mine.onnx"
    options = ["--data", folder, "--out", out, "--arch", OWN_MODEL, *TINY]
    assert run(monkeypatch, "train", *options) == 0
    told = capsys.readouterr()
    assert told.out.strip() == str(out)
    assert "20 pictures, 20 faces, no landmarks" in told.err
    assert "file missing: 1, such as" in told.err
    with out.with_suffix(".csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [6]
    assert cv2.imread(str(out.with_suffix(".png"))) is not None

    # the result is served like any other
    assert run(monkeypatch, "prepare", out) == 0

    # again: not by accident, but to go on
    assert run(monkeypatch, "train", *options) == 1
    assert "add --resume" in capsys.readouterr().err
    assert run(monkeypatch, "train", *options, "--resume") == 0

    # and another one begins with its weights
    finer = ["--data", folder, "--out", tmp_path / "finer.onnx", "--arch", OWN_MODEL, "--steps", "2"]
    start = ["--batch", "1", "--size", "96", "--start-from", out.with_suffix(".ckpt")]
    assert run(monkeypatch, "train", *finer, *start) == 0


@pytest.mark.usefixtures("torch")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--arch", "resnet"], "choose scrfd_500m, faceapi_small"),
        (["--size", "100"], "no multiple of 32"),
        (["--out", "mine.pt"], "must end in .onnx"),
        (["--data", "nowhere"], "nowhere/labels.json is missing"),
        (["--start-from", "nowhere.ckpt"], "no checkpoint"),
    ],
)
def test_what_cannot_work_is_refused_with_a_sentence(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"--data": str(folder), "--out": "mine.onnx", **dict([options])}
    arguments = [word for pair in given.items() for word in pair]
    assert run(monkeypatch, "train", *arguments) == 1
    error = capsys.readouterr().err
    assert sentence in error
    assert "Traceback" not in error


def test_without_pytorch_the_command_that_brings_it_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("serve_app.train_cli.find_spec", lambda name: None)
    assert run(monkeypatch, "train", "--data", folder, "--out", "mine.onnx") == 1
    assert "pip install" in capsys.readouterr().err
