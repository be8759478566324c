"""`detail` and `uncertain` as clients meet them. Level 106 of red is a face of score 0.3."""

import io
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from serve_app.cli import app
from serve_app.schemas.detect import DetectResponse
from tests.tiny_scrfd import CELL, red_block_picture, write_tiny_scrfd

PNG = {"Content-Type": "image/png"}
SOLID = {"method": "solid", "format": "png", "padding": 0}
WEAK = 106


def png(pixels: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


DOUBTFUL = png(red_block_picture(640, 640, {(2, 3): 255, (8, 9): WEAK}))
SURE = png(red_block_picture(640, 640, {(2, 3): 255}))
SMALL_FACES = png(red_block_picture(640, 1280, {(2, 3): 255, (30, 9): 255}))
"""At its own size it shows both to the detector; scaled down, a quarter of a cell each."""


async def post(client: httpx.AsyncClient, route: str, picture: bytes, **query: Any) -> httpx.Response:
    return await client.post(f"/api/v1/{route}", content=picture, headers=PNG, params=query)


def reds(answer: httpx.Response) -> int:
    """How many blocks are still to be seen in a masked picture."""
    pixels = np.asarray(Image.open(io.BytesIO(answer.content)))
    return int(np.count_nonzero(pixels[:, :, 0]) / CELL**2)


async def test_without_the_parameters_nothing_of_them_is_in_the_answer(client: httpx.AsyncClient) -> None:
    body = (await post(client, "detect", DOUBTFUL)).json()
    assert "uncertain" not in body
    assert "passes" not in body["profiling"]
    masked = await post(client, "mask", DOUBTFUL, **SOLID)
    assert "x-uncertain-faces" not in masked.headers
    assert reds(masked) == 1


async def test_max_finds_what_the_scaled_picture_does_not_show(client: httpx.AsyncClient) -> None:
    assert (await post(client, "detect", SMALL_FACES)).json()["summary"]["face_count"] == 0
    body = (await post(client, "detect", SMALL_FACES, detail="max")).json()
    DetectResponse.model_validate(body, strict=False)
    corners = sorted((face["bbox"]["x1"], face["bbox"]["y1"]) for face in body["detections"])
    assert corners == [(2 * CELL, 3 * CELL), (30 * CELL, 9 * CELL)]
    passes = body["profiling"]["passes"]
    assert [(one["kind"], one["width"], one["height"]) for one in passes] == [
        ("whole", 640, 320),
        ("half", 320, 160),
        *[("tile", 512, 640)] * 3,
    ]
    assert sum(one["faces_added"] for one in passes) == 2
    times = {name: value for name, value in body["profiling"].items() if name.endswith("_ms")}
    total = times.pop("total_ms")
    assert sum(value for value in times.values() if value) <= total + 0.1
    assert reds(await post(client, "mask", SMALL_FACES, detail="max", **SOLID)) == 0


async def test_uncertain_mask_hides_what_it_does_not_count(client: httpx.AsyncClient) -> None:
    masked = await post(client, "mask", DOUBTFUL, uncertain="mask", **SOLID)
    assert (masked.headers["x-face-count"], masked.headers["x-uncertain-faces"]) == ("1", "1")
    assert reds(masked) == 0


async def test_uncertain_report_lists_and_leaves(client: httpx.AsyncClient) -> None:
    masked = await post(client, "mask", DOUBTFUL, uncertain="report", **SOLID)
    assert (masked.headers["x-face-count"], masked.headers["x-uncertain-faces"]) == ("1", "1")
    assert reds(masked) == 1


async def test_uncertain_reject_sends_no_picture_that_has_any(client: httpx.AsyncClient) -> None:
    refused = await post(client, "mask", DOUBTFUL, uncertain="reject", **SOLID)
    assert refused.status_code == 422
    assert "1 possible face between confidence 0.2 and 0.5" in refused.json()["detail"]
    for query in ({"mask_confidence": 0.4}, {"confidence": 0.25}):
        assert (await post(client, "mask", DOUBTFUL, uncertain="reject", **query)).status_code == 200
    assert (await post(client, "mask", SURE, uncertain="reject")).headers["x-uncertain-faces"] == "0"


@pytest.mark.parametrize("uncertain", ["mask", "report", "reject"])
async def test_detect_lists_uncertain_faces_and_counts_only_sure_ones(
    client: httpx.AsyncClient, uncertain: str
) -> None:
    body = (await post(client, "detect", DOUBTFUL, uncertain=uncertain)).json()
    DetectResponse.model_validate(body, strict=False)
    assert body["summary"]["face_count"] == 1
    assert [face["confidence"] >= 0.5 for face in body["detections"]] == [True]
    assert [0.2 <= face["confidence"] < 0.5 for face in body["uncertain"]] == [True]
    assert body["detections"][0].keys() == body["uncertain"][0].keys()
    plain = (await post(client, "detect", DOUBTFUL)).json()
    assert body["detections"] == plain["detections"]
    assert (await post(client, "detect", SURE, uncertain=uncertain)).json()["uncertain"] == []


async def test_max_faces_keeps_the_best_of_all(client: httpx.AsyncClient) -> None:
    body = (await post(client, "detect", DOUBTFUL, uncertain="mask", max_faces=1)).json()
    assert (len(body["detections"]), body["uncertain"]) == (1, [])


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"mask_confidence": 0.3}, "mask_confidence: needs uncertain=mask"),
        ({"mask_confidence": 0.6, "uncertain": "mask"}, "must not be above confidence, which is 0.5"),
        ({"mask_confidence": 0.001, "uncertain": "mask"}, "mask_confidence: "),
        ({"mask_confidence": "nan", "uncertain": "mask"}, "mask_confidence: "),
        ({"mask_confidence": 0.3, "uncertain": "hide"}, "'mask', 'report' or 'reject'"),
        ({"detail": "most"}, "'fast', 'auto' or 'max'"),
    ],
)
async def test_what_does_not_fit_together_is_a_422_that_says_why(
    client: httpx.AsyncClient, query: dict[str, Any], words: str
) -> None:
    for route in ("detect", "mask"):
        answer = await post(client, route, SURE, **query)
        assert answer.status_code == 422
        assert words in answer.json()["detail"]


async def test_a_confidence_under_the_default_mask_confidence_needs_no_other(
    client: httpx.AsyncClient,
) -> None:
    body = (await post(client, "detect", DOUBTFUL, uncertain="mask", confidence=0.1)).json()
    assert (len(body["detections"]), body["uncertain"]) == (2, [])


async def test_the_document_describes_the_parameters_and_the_header(client: httpx.AsyncClient) -> None:
    mask = (await client.get("/openapi.json")).json()["paths"]["/api/v1/mask"]["post"]
    names = {parameter["name"] for parameter in mask["parameters"]}
    assert {"detail", "uncertain", "mask_confidence"} <= names
    assert "X-Uncertain-Faces" in mask["responses"]["200"]["headers"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACE_API_MODEL", str(write_tiny_scrfd(tmp_path / "tiny.onnx")))
    monkeypatch.setenv("FACE_API_DATA_DIR", str(tmp_path / "var"))
    (tmp_path / "doubtful.png").write_bytes(DOUBTFUL)
    (tmp_path / "small.png").write_bytes(SMALL_FACES)
    return tmp_path


def test_the_command_line_takes_them_too(folder: Path) -> None:
    run = CliRunner().invoke
    lists = run(app, ["detect", str(folder / "doubtful.png"), "--uncertain", "report"])
    line = json.loads(lists.stdout)
    assert (len(line["detections"]), len(line["uncertain"])) == (1, 1)
    found = run(app, ["detect", str(folder / "small.png"), "--detail", "max"])
    assert len(json.loads(found.stdout)["detections"]) == 2
    target = folder / "out.png"
    arguments = [
        "mask",
        str(folder / "doubtful.png"),
        "-o",
        str(target),
        "--method",
        "solid",
        "--format",
        "png",
    ]
    refused = run(app, [*arguments, "--uncertain", "reject"])
    assert refused.exit_code == 1
    assert "possible face" in refused.stderr
    assert not target.exists()
    assert run(app, [*arguments, "--uncertain", "mask"]).exit_code == 0
    assert np.asarray(Image.open(target)).max() == 0
    wrong = run(app, [*arguments, "--mask-confidence", "0.3"])
    assert wrong.exit_code == 2
    assert "uncertain=mask" in wrong.stderr
