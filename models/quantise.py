"""INT8: a prepared graph and its activation ranges become a graph of quantised convolutions.

The form is ONNX's QuantizeLinear and DequantizeLinear around what is to be computed in INT8, which engines
fuse into INT8 kernels (Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018).
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import helper, numpy_helper, version_converter

from models.activation_ranges import Range, conv_inputs
from models.errors import ModelGraphError
from models.graph import cached

RECIPE: Final = 1
"""Part of the cached file's name: a changed recipe rebuilds."""

OPSET: Final = 13
"""The first in which DequantizeLinear knows scales for each output channel."""


def quantise(prepared: Path, ranges: Mapping[str, Range]) -> Path:
    """The INT8 form of a prepared graph, beside it, made once for each recipe and set of ranges.

    Args:
        prepared: Made by `graph.prepare`.
        ranges: For each name in `conv_inputs`, the values it lies between.

    Raises:
        ModelGraphError: The graph cannot be quantised.
    """
    digest = hashlib.sha256(repr(sorted(ranges.items())).encode()).hexdigest()[:8]

    def build() -> onnx.ModelProto:
        try:
            model = version_converter.convert_version(onnx.load(prepared), OPSET)
            quantise_convolutions(model.graph, ranges)
            onnx.checker.check_model(model)
        except Exception as error:
            raise ModelGraphError(f"{prepared.name} cannot be quantised: {error}") from error
        return model

    return cached(prepared.with_name(f"{prepared.stem}-q{RECIPE}-{digest}.onnx"), build)


def quantise_convolutions(graph: onnx.GraphProto, ranges: Mapping[str, Range]) -> None:
    """Edit the graph in place: every convolution with a constant weight reads INT8 activations and weights.

    Activations: 8 bits unsigned, one scale for each tensor, zero exact. Weights: 8 bits signed, symmetric, a
    scale for each output channel. Biases stay float.
    """
    weights = {item.name: item for item in graph.initializer}
    activations = set(conv_inputs(graph))
    quantised: dict[str, list[onnx.NodeProto]] = {}  # tensor -> the nodes that stand for it
    for node in graph.node:
        if node.op_type != "Conv" or node.input[1] not in weights:
            continue
        data, weight = node.input[:2]
        if weight not in quantised:
            quantised[weight] = [_weight(graph, weights[weight])]
        if data not in quantised:
            quantised[data] = _activation(graph, data, ranges[data])
        node.input[0], node.input[1] = f"{data}_dequantised", f"{weight}_dequantised"
    # Weights need no order; an activation is quantised as soon as it is there.
    ordered = [node for name, nodes in quantised.items() if name not in activations for node in nodes]
    for node in graph.node:
        ordered.append(node)
        ordered += [added for name in node.output for added in quantised.get(name, [])]
    del graph.node[:]
    graph.node.extend(ordered)


def _activation(graph: onnx.GraphProto, name: str, measured: Range) -> list[onnx.NodeProto]:
    low, high = min(measured[0], 0.0), max(measured[1], 0.0)
    scale = np.float32(max(high - low, 1e-6) / 255)
    zero = np.uint8(np.clip(round(-low / float(scale)), 0, 255))
    parameters = [f"{name}_scale", f"{name}_zero"]
    for parameter, value in zip(parameters, (scale, zero), strict=True):
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), parameter))
    return [
        helper.make_node("QuantizeLinear", [name, *parameters], [f"{name}_quantised"]),
        helper.make_node("DequantizeLinear", [f"{name}_quantised", *parameters], [f"{name}_dequantised"]),
    ]


def _weight(graph: onnx.GraphProto, tensor: onnx.TensorProto) -> onnx.NodeProto:
    name, values = tensor.name, numpy_helper.to_array(tensor)
    peaks = np.abs(values).reshape(len(values), -1).max(axis=1)
    scales = np.maximum(peaks / 127, 1e-12).astype(np.float32)
    rounded = np.round(values / scales.reshape(-1, *[1] * (values.ndim - 1))).astype(np.int8)
    graph.initializer.remove(tensor)
    graph.initializer.append(numpy_helper.from_array(rounded, f"{name}_quantised"))
    graph.initializer.append(numpy_helper.from_array(scales, f"{name}_scales"))
    inputs = [f"{name}_quantised", f"{name}_scales"]
    return helper.make_node("DequantizeLinear", inputs, [f"{name}_dequantised"], axis=0)
