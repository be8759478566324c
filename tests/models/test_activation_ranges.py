import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from models.activation_ranges import SHIPPED_DIR, Ranges, conv_inputs, find_ranges, signatures
from models.errors import RangesError


def edited(path: Path, edit: Callable[[onnx.GraphProto], None]) -> Path:
    model = onnx.load(path)
    edit(model.graph)
    target = path.with_name("edited.onnx")
    onnx.save(model, target)
    return target


def rename_everything(graph: onnx.GraphProto) -> None:
    def new(name: str) -> str:
        return name if name in {"pictures", ""} else f"other/{name}"

    for node in graph.node:
        node.name = f"node_{id(node)}"
        node.input[:], node.output[:] = map(new, node.input), map(new, node.output)
    for item in (*graph.initializer, *graph.output):
        item.name = new(item.name)


def change_one_weight(graph: onnx.GraphProto) -> None:
    (tensor,) = [item for item in graph.initializer if item.name == "pixel_scale"]
    changed = numpy_helper.to_array(tensor) * np.float32(1.01)
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(changed, np.float32), tensor.name))


def test_ranges_are_found_whatever_the_names_in_the_graph(prepared: Path, measured: Ranges) -> None:
    folder = prepared.parent / "ranges"
    measured.save(folder / "tiny.json")
    found = find_ranges(prepared, [folder])
    assert found is not None
    renamed = find_ranges(edited(prepared, rename_everything), [folder])
    assert renamed is not None
    assert list(renamed.values()) == list(found.values())
    assert all(name.startswith("other/") for name in renamed)


def test_changed_weights_never_get_the_ranges_of_others(prepared: Path, measured: Ranges) -> None:
    folder = prepared.parent / "ranges"
    measured.save(folder / "tiny.json")
    assert find_ranges(edited(prepared, change_one_weight), [folder]) is None
    assert find_ranges(prepared, []) is None


def test_of_a_resize_only_its_picture_counts() -> None:
    def graph(sizes: list[int]) -> onnx.GraphProto:
        resize = onnx.helper.make_node("Resize", ["x", "", "", "sizes"], ["y"])
        source = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, None)
        constant = numpy_helper.from_array(np.array(sizes, np.int64), "sizes")
        return onnx.helper.make_graph([resize], "g", [source], [], [constant])

    assert signatures(graph([1, 1, 2, 2]))["y"] == signatures(graph([1, 1, 4, 4]))["y"]


def test_a_constant_node_counts_like_a_weight() -> None:
    def graph(value: float) -> onnx.GraphProto:
        tensor = numpy_helper.from_array(np.array([value], np.float32))
        constant = onnx.helper.make_node("Constant", [], ["c"], value=tensor)
        add = onnx.helper.make_node("Add", ["x", "c"], ["y"])
        source = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, None)
        return onnx.helper.make_graph([constant, add], "g", [source], [])

    assert signatures(graph(1.0))["y"] != signatures(graph(2.0))["y"]


def test_a_saved_file_reads_back_the_same(measured: Ranges, tmp_path: Path) -> None:
    measured.save(tmp_path / "a.json")
    assert Ranges.load(tmp_path / "a.json") == measured
    assert measured.pictures == 3


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"model": "x", "pictures": 1, "ranges": {"a": [1]}}',
        '{"model": "x", "pictures": 1, "ranges": {"a": [2, 1]}}',
        '{"model": "x", "pictures": 1, "ranges": {"a": ["low", "high"]}}',
        '{"model": "x", "pictures": 1, "ranges": {"a": [0, NaN]}}',
    ],
)
def test_another_json_file_gives_a_sentence(content: str, prepared: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ranges"
    folder.mkdir()
    (folder / "x.json").write_text(content)
    with pytest.raises(RangesError, match=r"x\.json is no file of activation ranges"):
        find_ranges(prepared, [folder])


def test_shipped_files_are_whole() -> None:
    files = sorted(SHIPPED_DIR.glob("*.json"))
    assert [path.stem for path in files] == ["faceapi_small", "scrfd_2.5g", "scrfd_500m"]
    for path in files:
        assert Ranges.load(path).model == path.stem
        assert set(json.loads(path.read_text())) == {"model", "pictures", "ranges"}


@pytest.mark.shared
@pytest.mark.parametrize("name", ["scrfd_500m", "scrfd_2.5g"])
def test_shipped_ranges_fit_the_published_weights(shared_dir: Path, tmp_path: Path, name: str) -> None:
    from models.graph import prepare

    graph = prepare(shared_dir / "models" / f"{name}.onnx", tmp_path, name)
    ranges = find_ranges(graph, [])
    assert ranges is not None
    assert list(ranges) == conv_inputs(onnx.load(graph).graph)


@pytest.mark.shared
def test_weights_without_shipped_ranges_get_none(shared_dir: Path, tmp_path: Path) -> None:
    from models.graph import prepare

    source = shared_dir / "models" / "scrfd_10g_RANDOM_WEIGHTS.onnx"
    assert find_ranges(prepare(source, tmp_path, "10g"), []) is None
