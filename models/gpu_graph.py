"""The form of a prepared graph for GPUs: one picture size, fp16 where asked, only the best anchors come out.

All outputs of a picture are 1.0 MB to copy and to search on the CPU; those of 3,200 anchors are 0.22 MB.
Decoding stays in `models.postprocess`: it is arithmetic for the few anchors over the threshold, and one
decoder, in fp32 whatever the engine computes in, is one less to prove right.
"""

from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.errors import ModelGraphError
from models.graph import cached
from models.raw_faces import STRIDES
from models.types import INPUT_SIZE

GpuPrecision = Literal["fp32", "fp16"]

RECIPE: Final = 1
"""Part of the cached file's name: a changed recipe rebuilds."""

BEST_OF_STRIDE: Final = {8: 1600, 16: 800, 32: 800}
"""So many anchors of each stride come out: 3,200 a picture, of 16,800, and all 800 of stride 32.

A stride with more over the threshold loses its lowest scores. TensorRT's TopK ends at 3,840.
"""

BEST: Final = sum(BEST_OF_STRIDE.values())

PART: Final = 800
"""Anchors are concatenated in parts of this size: for unequal parts ONNX Runtime's CUDA provider may read a
table in host memory, which a CUDA graph would read again after it was reused."""

NOT_A_NUMBER: Final = 2.0
"""Stands for a score that is NaN: it ranks first, so the best anchors always show it."""


def gpu_form(prepared: Path, precision: GpuPrecision) -> Path:
    """The GPU form of a prepared graph, beside it, made once for each recipe and precision.

    Input: uint8 (N, 640, 640, 3) RGB. Outputs, with B = BEST: `scores` fp32 (N, B, 1), after
    the sigmoid; `anchors` int64 (N, B, 1), see `raw_faces.Candidates`; `boxes` fp32 (N, B, 4); and, where
    the model has them, `landmarks` fp32 (N, B, 10). With fp16 all convolutions compute and keep their results
    in it; the sigmoid computes in fp32.

    Raises:
        ModelGraphError: The graph cannot be brought into this form.
    """

    def build() -> onnx.ModelProto:
        try:
            model = onnx.load(prepared)
            _fix_size(model.graph)
            if precision == "fp16":
                _to_half(model.graph)
            _let_the_best_through(model.graph)
            _prune(model.graph)
            onnx.checker.check_model(model, full_check=True)
        except ModelGraphError:
            raise
        except Exception as error:
            raise ModelGraphError(f"{prepared.name} cannot be brought into GPU form: {error}") from error
        return model

    return cached(prepared.with_name(f"{prepared.stem}-g{RECIPE}-{precision}.onnx"), build)


def _fix_size(graph: onnx.GraphProto) -> None:
    """Pictures are squares, so nothing is left to compute of shapes, which would happen on the CPU."""
    del graph.value_info[:]
    del graph.input[:]
    shape: list[str | int | None] = ["N", INPUT_SIZE, INPUT_SIZE, 3]
    graph.input.append(helper.make_tensor_value_info("pictures", TensorProto.UINT8, shape))
    # TensorRT takes uint8 as an input only, and only to cast it: cast first.
    transpose, cast = (_node_that_makes(graph, name) for name in ("pictures_nchw", "pictures_float"))
    cast.input[0], cast.output[0] = "pictures", "pictures_cast"
    transpose.input[0], transpose.output[0] = "pictures_cast", "pictures_float"
    nodes = [cast, transpose, *(node for node in graph.node if node not in (cast, transpose))]
    del graph.node[:]
    graph.node.extend(nodes)
    doubled = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "twice_the_size")
    graph.initializer.append(doubled)
    for node in graph.node:
        if node.op_type != "Resize" or len(node.input) < 4:
            continue
        # The pyramid's upper levels are enlarged to the size of the level below, which is twice theirs:
        # anything else would not fit that level, and the check of the finished graph would say so.
        kind = {item.name: item.s for item in node.attribute if item.type == onnx.AttributeProto.STRING}
        if (kind.get("mode"), kind.get("coordinate_transformation_mode")) != (b"nearest", b"asymmetric"):
            raise ModelGraphError(f"{node.name or 'a Resize'} enlarges in an unknown way")
        inputs = [node.input[0], node.input[1], doubled.name]
        del node.input[:]
        node.input.extend(inputs)


def _to_half(graph: onnx.GraphProto) -> None:
    """Every float becomes fp16, except what Resize wants in fp32; outputs change their type, too."""
    kept = {name for node in graph.node if node.op_type == "Resize" for name in node.input[1:]}
    for tensor in graph.initializer:
        if tensor.name not in kept:
            _halve(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
            elif node.op_type == "Constant" and attribute.name == "value" and node.output[0] not in kept:
                _halve(attribute.t)


def _halve(tensor: onnx.TensorProto) -> None:
    if tensor.data_type != TensorProto.FLOAT:
        return
    with np.errstate(over="ignore"):
        values = numpy_helper.to_array(tensor).astype(np.float16)
    if not np.isfinite(values).all():
        raise ModelGraphError(f"{tensor.name} holds numbers beyond fp16's: set FACE_API_PRECISION=fp32")
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _let_the_best_through(graph: onnx.GraphProto) -> None:
    """Replace the outputs of all anchors by those of each stride's best."""
    heads = [output.name for output in graph.output]
    widths = {"boxes": 4} | ({"landmarks": 10} if len(heads) == 3 * len(STRIDES) else {})
    constants: dict[str, np.ndarray[Any, Any]] = {
        "not_a_number": np.array(NOT_A_NUMBER, np.float32),
        "axis_of_anchors": np.array([1], np.int64),
        **{f"{kind}_width": np.array([1, 1, width], np.int64) for kind, width in widths.items()},
    }
    parts: dict[str, list[str]] = {kind: [] for kind in ("scores", "anchors", *widths)}
    nodes: list[onnx.NodeProto] = []

    def add(operator: str, inputs: list[str], *outputs: str, **attributes: Any) -> str:  # noqa: ANN401 - ONNX's own
        nodes.append(helper.make_node(operator, inputs, outputs, name=outputs[0], **attributes))
        return outputs[0]

    first = 0
    for index, stride in enumerate(STRIDES):
        sigmoid = _node_that_makes(graph, heads[index])
        if sigmoid.op_type != "Sigmoid":
            raise ModelGraphError(f"output {heads[index]} does not end in a Sigmoid")
        at = f"_{stride}_of_best"
        logits = add("Cast", [sigmoid.input[0]], f"logits{at}", to=TensorProto.FLOAT)
        scores = add("Sigmoid", [logits], f"all_scores{at}")
        is_number = add("Less", [scores, "not_a_number"], f"is_number{at}")
        ranked = add("Where", [is_number, scores, "not_a_number"], f"ranked{at}")
        rows = f"rows{at}"
        add("TopK", [ranked, f"count{at}"], f"scores{at}", rows, axis=1)
        constants[f"first{at}"] = np.array(first, np.int64)
        constants[f"count{at}"] = np.array([BEST_OF_STRIDE[stride]], np.int64)
        add("Add", [rows, f"first{at}"], f"anchors{at}")
        for offset, kind in enumerate(widths, start=1):
            spread = add("Expand", [rows, f"{kind}_width"], f"rows_of_{kind}{at}")
            head = heads[index + offset * len(STRIDES)]
            add("GatherElements", [head, spread], f"{kind}{at}", axis=1)
        for start in range(0, BEST_OF_STRIDE[stride], PART):
            ends = [f"{name}{at}_{start}" for name in ("start", "end")]
            constants |= {ends[0]: np.array([start]), ends[1]: np.array([start + PART])}
            for kind, names in parts.items():
                inputs = [f"{kind}{at}", *ends, "axis_of_anchors"]
                names.append(add("Slice", inputs, f"{kind}{at}_{start}"))
        first += 2 * (INPUT_SIZE // stride) ** 2
    outputs = {"scores": 1, "anchors": 1} | widths
    del graph.output[:]
    for kind, width in outputs.items():
        together = add("Concat", parts[kind], f"{kind}_of_best", axis=1)
        of_type = TensorProto.INT64 if kind == "anchors" else TensorProto.FLOAT
        add("Cast", [together], kind, to=of_type)
        shape: list[str | int | None] = ["N", BEST, width]
        graph.output.append(helper.make_tensor_value_info(kind, of_type, shape))
    graph.node.extend(nodes)
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())


def _prune(graph: onnx.GraphProto) -> None:
    """Remove what no output needs."""
    needed = {output.name for output in graph.output}
    kept: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    initializers = [item for item in graph.initializer if item.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(initializers)


def _node_that_makes(graph: onnx.GraphProto, name: str) -> onnx.NodeProto:
    nodes: list[onnx.NodeProto] = [node for node in graph.node if name in node.output]
    if nodes:
        return nodes[0]
    raise ModelGraphError(f"nothing makes {name}")
