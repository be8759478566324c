"""A trained detector as ONNX: any number of uint8 pictures in, as `models.graph.prepare` makes the others."""

import copy
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from models.graph import CHANNELS_BY_HEAD, take_uint8
from models.training.network import STRIDES, Backbone, Detector, Head, Pyramid

OPSET: Final = 13
IR_VERSION: Final = 8
INPUT: Final = "images"


def export(detector: Detector, target: Path, description: str) -> None:
    """Write a detector; batch normalisation is folded into the convolutions before it.

    Args:
        detector: As trained; not changed.
        target: The file to write.
        description: What it was trained on, kept in the file.
    """
    model = to_onnx(copy.deepcopy(detector).cpu(), description)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(target.name + ".part")
    temporary.write_bytes(model.SerializeToString())
    temporary.replace(target)


def to_onnx(detector: Detector, description: str) -> onnx.ModelProto:
    """See `export`."""
    graph = _Graph()
    levels = graph.pyramid(detector.pyramid, graph.backbone(detector.backbone, INPUT))
    by_kind: dict[str, list[str]] = {kind: [] for kind in CHANNELS_BY_HEAD}
    for stride, head, level in zip(STRIDES, detector.heads, levels, strict=True):
        assert isinstance(head, Head)  # noqa: S101 - for the type checker
        for kind, name in graph.head(head, level, stride).items():
            by_kind[kind].append(name)
    outputs = [
        helper.make_tensor_value_info(
            name, TensorProto.FLOAT, ["N", f"anchors_{stride}", CHANNELS_BY_HEAD[kind]]
        )
        for kind, names in by_kind.items()
        for stride, name in zip(STRIDES, names, strict=False)
    ]
    source = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", 3, "H", "W"])
    proto = helper.make_graph(graph.nodes, "detector", [source], outputs, graph.initializers)
    take_uint8(proto)
    model = helper.make_model(
        proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, doc_string=description
    )
    onnx.checker.check_model(model)
    return model


class _Graph:
    """Nodes and weights as they are added; every method returns the name of what it computes."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def backbone(self, backbone: Backbone, source: str) -> list[str]:
        name = self.chain(backbone.stem, source)
        maps = []
        for stage in backbone.stages:
            name = self.chain(stage, name)
            maps.append(name)
        return maps[1:]

    def pyramid(self, pyramid: Pyramid, maps: list[str]) -> list[str]:
        levels = [self.conv(layer, name) for layer, name in zip(pyramid.lateral, maps, strict=True)]
        for fine, coarse in ((1, 2), (0, 1)):
            scales = self.constant(np.array([1, 1, 2, 2], np.float32))
            larger = self.add(
                "Resize",
                [levels[coarse], "", scales],
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )
            levels[fine] = self.add("Add", [levels[fine], larger])
        levels = [self.conv(layer, name) for layer, name in zip(pyramid.smooth, levels, strict=True)]
        for index, down in enumerate(pyramid.down):
            levels[index + 1] = self.add("Add", [levels[index + 1], self.conv(down, levels[index])])
        return [levels[0], *(self.conv(out, name) for out, name in zip(pyramid.out, levels[1:], strict=True))]

    def head(self, head: Head, source: str, stride: int) -> dict[str, str]:
        tower = self.chain(head.tower, source)
        layers = {"score": head.scores, "bbox": head.boxes, "landmark": head.landmarks}
        return {
            kind: self.rows(self.conv(layer, tower), kind, stride)
            for kind, layer in layers.items()
            if layer is not None
        }

    def rows(self, source: str, kind: str, stride: int) -> str:
        """(N, 2·C, h, w) to (N, h·w·2, C), scores between 0 and 1."""
        shape = self.constant(np.array([0, -1, CHANNELS_BY_HEAD[kind]], np.int64))
        cells_first = self.add("Transpose", [source], perm=[0, 2, 3, 1])
        if kind == "score":
            cells_first = self.add("Reshape", [cells_first, shape])
            return self.add("Sigmoid", [cells_first], name=f"{kind}_{stride}")
        return self.add("Reshape", [cells_first, shape], name=f"{kind}_{stride}")

    def chain(self, layers: nn.Module, source: str) -> str:
        """Convolutions, each with what follows it."""
        flat = [layer for layer in layers.modules() if not list(layer.children())]
        for index, layer in enumerate(flat):
            if isinstance(layer, nn.Conv2d):
                following = flat[index + 1] if index + 1 < len(flat) else None
                source = self.conv(
                    layer, source, following if isinstance(following, nn.BatchNorm2d) else None
                )
            elif isinstance(layer, nn.ReLU):
                source = self.add("Relu", [source])
        return source

    def conv(self, layer: Any, source: str, norm: nn.BatchNorm2d | None = None) -> str:  # noqa: ANN401
        weight = layer.weight.detach().double()
        bias = (
            torch.zeros(len(weight), dtype=torch.double)
            if layer.bias is None
            else layer.bias.detach().double()
        )
        if norm is not None:
            assert norm.running_mean is not None and norm.running_var is not None  # noqa: S101 - they are tracked
            scale = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
            weight = weight * scale[:, None, None, None]
            bias = (bias - norm.running_mean.double()) * scale + norm.bias.detach().double()
        inputs = [self.constant(value.float().numpy()) for value in (weight, bias)]
        return self.add(
            "Conv",
            [source, *inputs],
            kernel_shape=list(layer.kernel_size),
            strides=list(layer.stride),
            pads=[layer.padding[0]] * 4,
            group=layer.groups,
        )

    def constant(self, value: Any) -> str:  # noqa: ANN401
        name = f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, operator: str, inputs: list[str], name: str | None = None, **attributes: Any) -> str:  # noqa: ANN401
        output = name or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output
