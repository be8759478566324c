from pathlib import Path

import numpy as np
import onnx
import pytest

from deployments.decoding.decode import decode
from models.activation_ranges import Ranges, find_ranges
from models.errors import ModelGraphError
from models.evaluation import LEVELS, Predictions, average_precision, load_dataset
from models.onnxruntime_session import OnnxRuntimeSession
from models.openvino_session import OpenVinoSession
from models.quantise import RECIPE, quantise
from models.resolve import ModelSource
from models.scrfd import Scrfd, ScrfdOptions
from models.session import Precision, Provider
from models.types import Canvas, DetectParams
from tests.tiny_scrfd import red_block_picture, score_of_red


@pytest.fixture
def int8(prepared: Path, measured: Ranges) -> Path:
    measured.save(prepared.parent / "ranges" / "tiny.json")
    ranges = find_ranges(prepared, [prepared.parent / "ranges"])
    assert ranges is not None
    return quantise(prepared, ranges)


def test_convolutions_read_eight_bits_and_nothing_else_changes(int8: Path, prepared: Path) -> None:
    graph, before = onnx.load(int8).graph, onnx.load(prepared).graph
    made = {name: node for node in graph.node for name in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 9
    for node in convolutions:
        assert [made[name].op_type for name in node.input[:2]] == ["DequantizeLinear"] * 2
    assert [output.name for output in graph.output] == [output.name for output in before.output]
    added = {"QuantizeLinear", "DequantizeLinear"}
    kept = [node.op_type for node in graph.node if node.op_type not in added]
    assert kept == [node.op_type for node in before.node]


def test_a_quantised_graph_finds_the_same_block(int8: Path, prepared: Path) -> None:
    picture = red_block_picture(640, 640, {(4, 6): 255, (10, 2): 160})[None]
    reference = OnnxRuntimeSession(prepared, 1).run(picture)[0].outputs
    for session in (OnnxRuntimeSession(int8, 1), OpenVinoSession(int8, "int8", 1)):
        outputs = session.run(picture)[0].outputs
        for ours, theirs in zip(outputs, reference, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=0.04)
        assert outputs[2].max() == pytest.approx(score_of_red(255), abs=0.01)


def test_a_quantised_graph_is_made_once_for_each_set_of_ranges(int8: Path, prepared: Path) -> None:
    written = int8.stat().st_mtime_ns
    ranges = find_ranges(prepared, [prepared.parent / "ranges"]) or {}
    assert quantise(prepared, ranges) == int8
    assert int8.stat().st_mtime_ns == written
    assert f"-q{RECIPE}-" in int8.name
    wider = {name: (low - 1, high) for name, (low, high) in ranges.items()}
    assert quantise(prepared, wider) != int8


def test_a_missing_range_is_an_error_of_the_graph(prepared: Path) -> None:
    with pytest.raises(ModelGraphError, match="cannot be quantised"):
        quantise(prepared, {})


@pytest.mark.shared
def test_int8_loses_less_than_half_a_point_of_average_precision(shared_dir: Path, tmp_path: Path) -> None:
    """The gate of every change to ranges, recipe or rectangles: 0.5 points (easy, medium), 1 point (hard)."""
    dataset = shared_dir / "data" / "wider_val_subset"
    images = load_dataset(dataset)
    canvases: list[Canvas] = []
    for image in images:
        data = (dataset / "images" / image.file).read_bytes()
        canvases.append(decode(data, max_pixels=10**8, keep_picture=False).canvas)

    def ap(provider: Provider, precision: Precision) -> dict[str, float]:
        source = ModelSource("scrfd_500m", (shared_dir / "models",), tmp_path)
        scrfd = Scrfd.load(ScrfdOptions(source, tmp_path, provider, 1, precision))
        found = [scrfd.detect(canvas, DetectParams(0.02, 0.4)) for canvas in canvases]
        return average_precision(images, [Predictions(f.boxes, f.scores) for f in found])

    reference, quick = ap("cpu", "fp32"), ap("openvino", "int8")
    allowed = dict(zip(LEVELS, (0.005, 0.005, 0.010), strict=True))
    assert {level for level in LEVELS if quick[level] < reference[level] - allowed[level]} == set()
