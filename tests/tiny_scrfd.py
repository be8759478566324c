"""A few-kilobyte stand-in for the published weights: the same export, finding red blocks instead of faces.

The canvas is 640x640 as in production. A pure red (255, 0, 0) 32x32 block whose corner lies on a multiple
of 32 gives exactly one box, the block itself, with score 0.993; see `score_of_red`. A block of k x k such
cells gives k*k boxes side by side. Black, grey, white, green and blue give nothing, even at confidence 0.01.
"""

import math
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)
CELL = 32
"""Side in canvas pixels of the blocks that are found: a cell of the coarsest stride."""

LANDMARKS = ((0.3, 0.35), (0.7, 0.35), (0.5, 0.55), (0.35, 0.75), (0.65, 0.75))
"""Where the five points lie in a box, as shares of its width and height."""

# Candidates of the two finer strides follow the picture's content, but their scores stay below 0.001.
_SCORE_GAIN = {8: 1.0, 16: 1.0, 32: 5.0}
_SCORE_BIAS = {8: -9.0, 16: -9.0, 32: -5.0}
_SECOND_ANCHOR_BIAS = -1.0


def score_of_red(red: int, other: int = 0) -> float:
    """Score of the box over a block of one colour (red, other, other): 0.5 where red - other is 128."""
    return 1 / (1 + math.exp(-(5 * (red - other) / 128 - 5)))


def red_block_picture(
    height: int, width: int, cells: dict[tuple[int, int], int], *, cell: int = CELL
) -> NDArray[np.uint8]:
    """A black (height, width, 3) picture with a square (level, 0, 0) for each (column, row) of `cells`."""
    picture = np.zeros((height, width, 3), np.uint8)
    for (column, row), level in cells.items():
        picture[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell, 0] = level
    return picture


def write_tiny_scrfd(path: Path, *, landmarks: bool = True) -> Path:
    """Write a stock-style export, batch 1: float [1, 3, ?, ?] in; scores, boxes (, landmarks) per stride out.

    Every branch is Conv, Transpose [2, 3, 0, 1], Reshape [-1, C] (, Sigmoid), two anchors per cell, as in
    the published files.
    """
    kinds = {"score": 1, "bbox": 4} | ({"kps": 10} if landmarks else {})
    nodes = []
    initializers = [
        numpy_helper.from_array(np.array([-1, width], np.int64), f"shape_{kind}")
        for kind, width in kinds.items()
    ]
    for stride in STRIDES:
        mean = f"mean_{stride}"
        side = [stride, stride]
        nodes.append(helper.make_node("AveragePool", ["input.1"], [mean], kernel_shape=side, strides=side))
        for kind, width in kinds.items():
            weight, bias = _branch(kind, stride)
            name = f"{kind}_{stride}"
            initializers += [
                numpy_helper.from_array(weight, f"{name}_w"),
                numpy_helper.from_array(bias, f"{name}_b"),
            ]
            last = f"{name}_logit" if kind == "score" else name
            nodes += [
                helper.make_node("Conv", [mean, f"{name}_w", f"{name}_b"], [f"{name}_map"]),
                helper.make_node("Transpose", [f"{name}_map"], [f"{name}_rows"], perm=[2, 3, 0, 1]),
                helper.make_node("Reshape", [f"{name}_rows", f"shape_{kind}"], [last]),
            ]
            if kind == "score":
                nodes.append(helper.make_node("Sigmoid", [last], [name]))
            assert weight.shape[0] == 2 * width
    outputs = [
        helper.make_tensor_value_info(
            f"{kind}_{stride}", TensorProto.FLOAT, [2 * (640 // stride) ** 2, width]
        )
        for kind, width in kinds.items()
        for stride in STRIDES
    ]
    source = helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [1, 3, "?", "?"])
    graph = helper.make_graph(nodes, "tiny_scrfd", [source], outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def _branch(kind: str, stride: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weight (2C, 3, 1, 1) and bias (2C,) of a 1x1 convolution over the cell's mean colour."""
    redness = np.array([1.0, -0.5, -0.5], np.float32)
    if kind == "score":
        weight = np.stack([redness, redness]) * _SCORE_GAIN[stride]
        bias = np.array([0.0, _SECOND_ANCHOR_BIAS]) + _SCORE_BIAS[stride]
    else:
        one_anchor = (0.0, 0.0, 1.0, 1.0) if kind == "bbox" else np.ravel(LANDMARKS)
        bias = np.tile(one_anchor, 2)
        weight = np.zeros((len(bias), 3))
    return weight[:, :, None, None].astype(np.float32), bias.astype(np.float32)
