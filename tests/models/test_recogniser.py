from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from models.recogniser import SIDE, TEMPLATE, Recogniser, RecogniserError, aligned, similarity


def write_recogniser(path: Path, side: int = SIDE) -> Path:
    """Sees a face as the mean colours of 8x8 squares: enough to tell one crop from another."""
    pool = helper.make_node("AveragePool", ["input"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8])
    flat = helper.make_node("Flatten", ["pooled"], ["vector"])
    source = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, side, side])
    target = helper.make_tensor_value_info("vector", TensorProto.FLOAT, [1, 3 * (side // 8) ** 2])
    graph = helper.make_graph([pool, flat], "tiny_recogniser", [source], [target])
    opset = [helper.make_opsetid("", 11)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=6), path)
    return path


def test_landmarks_are_turned_and_scaled_back_onto_the_template() -> None:
    turn = 2.5 * np.array([[np.cos(0.6), -np.sin(0.6)], [np.sin(0.6), np.cos(0.6)]])
    landmarks = (TEMPLATE @ turn.T + np.array((40, 300))).astype(np.float32)
    back = landmarks @ similarity(landmarks)[:, :2].T + similarity(landmarks)[:, 2]
    assert back == pytest.approx(TEMPLATE, abs=1e-3)


def test_an_upright_face_of_the_templates_size_is_cut_out_as_it_is(astronaut: NDArray[np.uint8]) -> None:
    face = aligned(astronaut, (TEMPLATE + np.array((150, 60))).astype(np.float32))
    assert np.abs(face.astype(int) - astronaut[60 : 60 + SIDE, 150 : 150 + SIDE]).max() <= 1


def test_vectors_have_length_one_and_tell_faces_apart(astronaut: NDArray[np.uint8], tmp_path: Path) -> None:
    recogniser = Recogniser(write_recogniser(tmp_path / "tiny.onnx"), 1)
    face, other = astronaut[60 : 60 + SIDE, 150 : 150 + SIDE], astronaut[300 : 300 + SIDE, 100 : 100 + SIDE]
    vector = recogniser.vector(face)
    assert np.linalg.norm(vector) == pytest.approx(1.0)
    assert vector @ recogniser.vector(np.minimum(face, 250) + 5) > 0.99 > vector @ recogniser.vector(other)


def test_another_kind_of_graph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecogniserError, match="1x3x112x112"):
        Recogniser(write_recogniser(tmp_path / "tiny.onnx", side=64), 1)
