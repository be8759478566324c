import threading
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from models.errors import InferenceError, ModelGraphError, SelfCheckError
from models.graph import RECIPE, make_batch_safe, prepare
from models.onnxruntime_session import OnnxRuntimeSession
from models.scrfd import check_batches
from models.types import UInt8Array
from tests.tiny_scrfd import red_block_picture, write_tiny_scrfd


@pytest.fixture
def stock(tmp_path: Path) -> Path:
    return write_tiny_scrfd(tmp_path / "tiny.onnx")


def pictures() -> UInt8Array:
    return np.stack([red_block_picture(640, 640, {(i, 2 * i): 255, (9, 9): 120 + 40 * i}) for i in range(3)])


def as_stock_input(picture: UInt8Array) -> np.ndarray:
    return ((picture.astype(np.float32) - 127.5) / 128).transpose(2, 0, 1)[None]


def test_a_prepared_batch_equals_the_published_graph_picture_by_picture(stock: Path, tmp_path: Path) -> None:
    published = ort.InferenceSession(stock, providers=["CPUExecutionProvider"])
    session = OnnxRuntimeSession(prepare(stock, tmp_path / "cache", "abc"), 1)
    batch = session.run(pictures())
    for row, picture in enumerate(pictures()):
        alone = published.run(None, {"input.1": as_stock_input(picture)})
        for together, single in zip(batch[row].outputs, alone, strict=True):
            np.testing.assert_allclose(together, single, rtol=0, atol=1e-6)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["scrfd_500m", "scrfd_2.5g", "scrfd_10g_RANDOM_WEIGHTS"])
def test_real_weights_equal_the_published_graph(shared_dir: Path, tmp_path: Path, name: str) -> None:
    source = shared_dir / "models" / f"{name}.onnx"
    published = ort.InferenceSession(source, providers=["CPUExecutionProvider"])
    session = OnnxRuntimeSession(prepare(source, tmp_path, name), 2)
    noise = np.random.default_rng(3).integers(0, 256, (2, 640, 640, 3), np.uint8)
    batch = session.run(noise)
    alone = published.run(None, {"input.1": as_stock_input(noise[1])})
    for together, single in zip(batch[1].outputs, alone, strict=True):
        np.testing.assert_allclose(together, single, rtol=1e-4, atol=1e-4)


def test_the_self_check_refuses_a_graph_patched_at_the_batch_axis_only(stock: Path, tmp_path: Path) -> None:
    model = onnx.load(stock)
    make_batch_safe(model)
    for node in model.graph.node:  # back to what the published graph does behind a batch axis
        if node.op_type == "Transpose" and "map" in node.input[0]:
            del node.attribute[:]
            node.attribute.append(onnx.helper.make_attribute("perm", [2, 3, 0, 1]))
    for initializer in model.graph.initializer:
        if initializer.name.startswith("batch_safe_shape"):
            channels = int(onnx.numpy_helper.to_array(initializer)[2])
            reshaped = np.array([3, -1, channels], np.int64)
            initializer.CopyFrom(onnx.numpy_helper.from_array(reshaped, initializer.name))
    path = tmp_path / "interleaving.onnx"
    onnx.save(model, path)
    with pytest.raises((SelfCheckError, InferenceError)):
        check_batches(_batch_of_three(path))


def _batch_of_three(path: Path) -> OnnxRuntimeSession:
    """A session without its warm-up, which this graph, made for three pictures, would not pass."""
    session = OnnxRuntimeSession.__new__(OnnxRuntimeSession)
    session._session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    session._running = threading.Lock()
    return session


def test_a_prepared_graph_is_made_once_and_again_when_torn(stock: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = prepare(stock, cache, "abc")
    written = first.stat().st_mtime_ns
    assert prepare(stock, cache, "abc") == first
    assert first.stat().st_mtime_ns == written
    assert f"-r{RECIPE}" in first.name
    first.write_bytes(first.read_bytes()[:100])
    prepare(stock, cache, "abc")
    onnx.checker.check_model(onnx.load(first))


def test_another_graph_is_refused_by_name_of_the_problem(tmp_path: Path) -> None:
    source = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", [source], [source])
    path = tmp_path / "other.onnx"
    onnx.save(onnx.helper.make_model(graph), path)
    with pytest.raises(ModelGraphError, match="9 outputs"):
        prepare(path, tmp_path, "abc")
    path.write_bytes(b"not onnx")
    with pytest.raises(ModelGraphError, match="not an ONNX file"):
        prepare(path, tmp_path, "def")
