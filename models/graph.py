"""Graph surgery: a published batch-1 export becomes one that takes batches of uint8 pictures."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.errors import ModelGraphError

RECIPE: Final = 1
"""Part of the cached file's name: a changed recipe rebuilds."""

PIXEL_MEAN: Final = 127.5
PIXEL_SCALE: Final = 128.0  # SCRFD: (x - 127.5) / 128
CHANNELS_BY_HEAD: Final = {"score": 1, "bbox": 4, "landmark": 10}


def prepare(source: Path, cache_dir: Path, digest: str) -> Path:
    """The batch-safe form of the weights in `source`, made once for each digest and recipe.

    Input: uint8 (N, H, W, 3) RGB. Outputs: scores (N, A, 1), boxes (N, A, 4) and, where the model has them,
    landmarks (N, A, 10), each for strides 8, 16, 32.

    Raises:
        ModelGraphError: The file is no SCRFD export of the known form.
    """

    def build() -> onnx.ModelProto:
        try:
            model = onnx.load(source)
        except Exception as error:
            raise ModelGraphError(f"{source} is not an ONNX file") from error
        make_batch_safe(model)
        return model

    return cached(cache_dir / f"{digest[:16]}-r{RECIPE}.onnx", build)


def cached(target: Path, build: Callable[[], onnx.ModelProto]) -> Path:
    """`target`, built and put in its place in one step unless it is there and whole."""
    if target.is_file() and _is_whole(target):
        return target
    model = build()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, suffix=".part", delete=False) as part:
        part.write(model.SerializeToString())
    os.replace(part.name, target)  # noqa: PTH105 - both are strings of one folder
    return target


def make_batch_safe(model: onnx.ModelProto) -> None:
    """Edit the graph in place; see `prepare`.

    The exports flatten their heads with Transpose [2, 3, 0, 1] and Reshape [-1, C], which interleaves the
    pictures of a batch: one picture's faces would go to another. Keeping the batch axis in front and out
    of the reshape repairs it without touching a weight.
    """
    graph = model.graph
    if _is_batch_safe(graph):
        return
    if len(graph.input) != 1 or len(graph.output) not in {6, 9}:
        raise ModelGraphError(
            f"expected one input and 6 or 9 outputs, found {len(graph.input)} and {len(graph.output)}"
        )
    initializers = {item.name: item for item in graph.initializer}
    producers = {name: node for node in graph.node for name in node.output}
    heads = [_head(output.name, producers, initializers) for output in graph.output]
    expected = [channels for channels in (1, 4, 10)[: len(heads) // 3] for _ in range(3)]
    if [channels for _, _, channels in heads] != expected:
        raise ModelGraphError("outputs are not scores, boxes and landmarks for three strides")
    for transpose, reshape, channels in heads:
        _set_perm(transpose, [0, 2, 3, 1])
        shape_name = f"batch_safe_shape_{channels}"
        if shape_name not in initializers:
            shape = numpy_helper.from_array(np.array([0, -1, channels], np.int64), shape_name)
            initializers[shape_name] = shape
            graph.initializer.append(shape)
        reshape.input[1] = shape_name
        for attribute in [a for a in reshape.attribute if a.name == "allowzero"]:
            reshape.attribute.remove(attribute)
    del graph.value_info[:]
    _redeclare_outputs(graph, expected)
    take_uint8(graph)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ModelGraphError(f"the prepared graph is not valid: {error}") from error


def _is_batch_safe(graph: onnx.GraphProto) -> bool:
    """Whether a graph takes pictures as `prepare` wants it to: our own trainings export such."""
    takes_pictures = [i.type.tensor_type.elem_type for i in graph.input] == [TensorProto.UINT8]
    return takes_pictures and len(graph.output) in {6, 9}


def _head(
    output: str, producers: dict[str, Any], initializers: dict[str, Any]
) -> tuple[onnx.NodeProto, onnx.NodeProto, int]:
    """The Transpose and the Reshape before an output, and its number of channels."""
    reshape = transpose = None
    for node in _upwards(output, producers):
        if node.op_type == "Reshape" and reshape is None:
            reshape = node
        elif node.op_type == "Transpose":
            transpose = node
            break
        elif node.op_type not in {"Sigmoid", "Reshape"}:
            break
    if reshape is None or transpose is None or _perm(transpose) != [2, 3, 0, 1]:
        raise ModelGraphError(f"output {output} does not end in Transpose [2, 3, 0, 1] and Reshape [-1, C]")
    shape = _constant(reshape.input[1], producers, initializers)
    if shape is None or len(shape) != 2 or shape[0] != -1:
        raise ModelGraphError(f"output {output} is not reshaped to [-1, C]")
    return transpose, reshape, int(shape[1])


def _upwards(name: str, producers: dict[str, Any]) -> Iterator[onnx.NodeProto]:
    while name in producers:
        node = producers[name]
        yield node
        name = node.input[0] if node.input else ""


def _constant(name: str, producers: dict[str, Any], initializers: dict[str, Any]) -> list[int] | None:
    if name in initializers:
        return [int(v) for v in numpy_helper.to_array(initializers[name])]
    node = producers.get(name)
    if node is not None and node.op_type == "Constant":
        return [int(v) for v in numpy_helper.to_array(node.attribute[0].t)]
    return None


def _perm(transpose: onnx.NodeProto) -> list[int]:
    return [int(v) for a in transpose.attribute if a.name == "perm" for v in a.ints]


def _set_perm(transpose: onnx.NodeProto, perm: list[int]) -> None:
    del transpose.attribute[:]
    transpose.attribute.append(helper.make_attribute("perm", perm))


def _redeclare_outputs(graph: onnx.GraphProto, channels: list[int]) -> None:
    names = [output.name for output in graph.output]
    del graph.output[:]
    for index, (name, width) in enumerate(zip(names, channels, strict=True)):
        shape: list[str | int | None] = ["N", f"anchors_{index % 3}", width]
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))


def take_uint8(graph: onnx.GraphProto) -> None:
    """Move what `cv2.dnn.blobFromImage` computes into the graph: uint8 NHWC in, (x - 127.5) / 128 NCHW."""
    source = graph.input[0].name
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["N", "H", "W", 3]))
    for name, value in (("pixel_mean", PIXEL_MEAN), ("pixel_scale", 1.0 / PIXEL_SCALE)):
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    normalise = [
        helper.make_node("Transpose", ["pictures"], ["pictures_nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["pictures_nchw"], ["pictures_float"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["pictures_float", "pixel_mean"], ["pictures_centred"]),
        helper.make_node("Mul", ["pictures_centred", "pixel_scale"], [source]),
    ]
    nodes = [*normalise, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _is_whole(path: Path) -> bool:
    """Whether a cached graph parses; a power cut may have left a torn one."""
    try:
        onnx.load(path)
    except Exception:  # any parse error means the same: build it again
        return False
    return True
