"""Activation ranges: between which numbers each convolution's input lies, kept as small JSON files.

A range belongs to a tensor by what computes it, not by its name: see `signatures`. So one file serves every
export of the same weights, and weights that were changed never get the ranges of others.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import onnx
from onnx import numpy_helper

from models.errors import RangesError

SHIPPED_DIR: Final = Path(__file__).parent / "ranges"
"""Made by `face-api models calibrate`; see DECISIONS.md."""

COUNTED_ATTRIBUTES: Final = frozenset({"kernel_shape", "strides"})

Range = tuple[float, float]  # lowest and highest value


@dataclass(frozen=True, slots=True)
class Ranges:
    """What a calibration measured."""

    model: str  # for the reader; never looked at
    pictures: int  # so many were measured
    by_signature: Mapping[str, Range]

    def save(self, path: Path) -> None:
        """Write the JSON file, and its folder where that is missing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        ranges = {key: list(self.by_signature[key]) for key in sorted(self.by_signature)}
        lines = ",\n".join(f"    {json.dumps(key)}: {json.dumps(ranges[key])}" for key in ranges)
        head = f'  "model": {json.dumps(self.model)},\n  "pictures": {self.pictures},\n'
        path.write_text(f'{{\n{head}  "ranges": {{\n{lines}\n  }}\n}}\n')

    @classmethod
    def load(cls, path: Path) -> "Ranges":
        """Read what `save` wrote.

        Raises:
            RangesError: The file is something else.
        """
        try:
            content = json.loads(path.read_text())
            ranges = {str(key): _range(low, high) for key, (low, high) in content["ranges"].items()}
            return cls(str(content["model"]), int(content["pictures"]), ranges)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RangesError(
                f"{path} is no file of activation ranges: remove it, or make it anew with "
                "`face-api models calibrate`"
            ) from error


def find_ranges(graph: Path, folders: Sequence[Path]) -> dict[str, Range] | None:
    """Ranges of every tensor that `quantise` needs in a prepared graph, by its name there.

    The first file that holds them all, of `folders` in their order and then of what is shipped.

    Raises:
        RangesError: A file on the way holds no ranges.
    """
    model = onnx.load(graph)
    known = signatures(model.graph)
    needed = {name: known[name] for name in conv_inputs(model.graph)}
    for folder in (*folders, SHIPPED_DIR):
        for path in sorted(folder.glob("*.json")):
            ranges = Ranges.load(path).by_signature
            if needed and all(signature in ranges for signature in needed.values()):
                return {name: ranges[signature] for name, signature in needed.items()}
    return None


def conv_inputs(graph: onnx.GraphProto) -> list[str]:
    """Names of the activations that convolutions with weights of their own read, in the graph's order."""
    weights = {item.name for item in graph.initializer}
    return list(
        dict.fromkeys(n.input[0] for n in graph.node if n.op_type == "Conv" and n.input[1] in weights)
    )


def signatures(graph: onnx.GraphProto) -> dict[str, str]:
    """Of each tensor: 16 hex digits over the operator that makes it, its inputs' signatures, and weights.

    Names do not count, nor what exporters write differently: attributes other than `COUNTED_ATTRIBUTES` (some
    leave defaults out), and of a Resize all but what it enlarges (its size is computed in several ways).
    """
    found = {item.name: "picture" for item in graph.input}
    found |= {item.name: _tensor_signature(item) for item in graph.initializer}
    for node in graph.node:
        inputs = node.input[:1] if node.op_type == "Resize" else node.input
        parts = [node.op_type, *(found.get(name, "") for name in inputs)]
        for attribute in sorted(node.attribute, key=lambda item: item.name):
            if attribute.name in COUNTED_ATTRIBUTES:
                parts.append(f"{attribute.name}={list(attribute.ints)}")
            elif node.op_type == "Constant" and attribute.HasField("t"):
                parts.append(_tensor_signature(attribute.t))
        for index, name in enumerate(node.output):
            found[name] = _digest(" ".join([*parts, str(index)]).encode())
    return found


def _tensor_signature(tensor: onnx.TensorProto) -> str:
    array = numpy_helper.to_array(tensor)
    return _digest(f"{array.dtype} {array.shape} ".encode() + array.tobytes())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _range(low: float, high: float) -> Range:
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"{low} to {high} is no range")
    return float(low), float(high)
