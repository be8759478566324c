"""The SCRFD family of detectors, to be trained.

Guo et al., "Sample and Computation Redistribution for Efficient Face Detection", arXiv 2105.04714: a stack of
depthwise separable stages, a path aggregation feature pyramid (PAFPN), and one head of depthwise separable
convolutions for each stride, its tower shared by scores, boxes and landmarks.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDES: Final = (8, 16, 32)
ANCHORS: Final = 2  # of each cell
LANDMARK_VALUES: Final = 10  # x and y of 5 points
PRIOR: Final = 0.01
"""Score of every anchor before training, so that the first steps are not spent on the background."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """Widths and depths of one detector."""

    stem_planes: int
    stage_planes: tuple[int, int, int, int]  # of strides 4, 8, 16, 32
    stage_blocks: tuple[int, int, int, int]
    pyramid_planes: int
    head_planes: int
    head_blocks: int


ARCHITECTURES: Final = {
    "scrfd_500m": Architecture(16, (40, 72, 152, 288), (2, 3, 2, 6), 16, 64, 2),
    "faceapi_small": Architecture(16, (40, 72, 144, 256), (2, 3, 3, 4), 24, 48, 2),
}


class Separable(nn.Sequential):
    """3×3 depthwise and 1×1 pointwise convolution, each with batch normalisation and ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
            nn.BatchNorm2d(inputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class Backbone(nn.Module):
    """Features at strides 8, 16 and 32."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        planes = architecture.stem_planes
        self.stem = nn.Sequential(
            nn.Conv2d(3, planes, 3, 2, 1, bias=False),
            nn.BatchNorm2d(planes),
            nn.ReLU(inplace=True),
            Separable(planes, planes),
        )
        self.stages = nn.ModuleList()
        for outputs, blocks in zip(architecture.stage_planes, architecture.stage_blocks, strict=True):
            following = [Separable(outputs, outputs) for _ in range(blocks - 1)]
            self.stages.append(nn.Sequential(Separable(planes, outputs, stride=2), *following))
            planes = outputs

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) to three maps of H/8, H/16 and H/32."""
        features = self.stem(images)
        maps = []
        for stage in self.stages:
            features = stage(features)
            maps.append(features)
        return maps[1:]


class Pyramid(nn.Module):
    """PAFPN: coarse features added to fine ones, then fine to coarse ones."""

    def __init__(self, inputs: tuple[int, ...], planes: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(n, planes, 1) for n in inputs)
        self.smooth = nn.ModuleList(nn.Conv2d(planes, planes, 3, 1, 1) for _ in inputs)
        self.down = nn.ModuleList(nn.Conv2d(planes, planes, 3, 2, 1) for _ in inputs[1:])
        self.out = nn.ModuleList(nn.Conv2d(planes, planes, 3, 1, 1) for _ in inputs[1:])

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Three maps to three of equal depth."""
        levels = [lateral(m) for lateral, m in zip(self.lateral, maps, strict=True)]
        for fine, coarse in ((1, 2), (0, 1)):
            levels[fine] = levels[fine] + functional.interpolate(
                levels[coarse], scale_factor=2.0, mode="nearest"
            )
        levels = [smooth(level) for smooth, level in zip(self.smooth, levels, strict=True)]
        for index, down in enumerate(self.down):
            levels[index + 1] = levels[index + 1] + down(levels[index])
        return [levels[0], *(out(level) for out, level in zip(self.out, levels[1:], strict=True))]


class Head(nn.Module):
    """Scores, box distances and landmark offsets of one stride."""

    def __init__(self, inputs: int, planes: int, blocks: int, *, landmarks: bool) -> None:
        super().__init__()
        widths = [inputs, *([planes] * blocks)]
        self.tower = nn.Sequential(*(Separable(a, b) for a, b in itertools.pairwise(widths)))
        self.scores = nn.Conv2d(planes, ANCHORS, 3, 1, 1)
        self.boxes = nn.Conv2d(planes, ANCHORS * 4, 3, 1, 1)
        self.landmarks = nn.Conv2d(planes, ANCHORS * LANDMARK_VALUES, 3, 1, 1) if landmarks else None
        for layer in (self.scores, self.boxes, self.landmarks):
            if layer is not None:
                nn.init.normal_(layer.weight, std=0.01)
        nn.init.constant_(self.scores.bias, -math.log((1 - PRIOR) / PRIOR))
        with torch.no_grad():  # the anchors' own sizes: 2 and 4 strides
            self.boxes.bias.copy_(torch.tensor([1.0] * 4 + [2.0] * 4))

    def forward(self, features: Tensor) -> list[Tensor]:
        """(N, C, h, w) to rows of anchors: (N, h·w·2, 1), (N, h·w·2, 4) and maybe (N, h·w·2, 10)."""
        tower = self.tower(features)
        layers = [self.scores, self.boxes, *([] if self.landmarks is None else [self.landmarks])]
        return [_rows(layer(tower)) for layer in layers]


class Detector(nn.Module):
    """A whole detector. Scores are logits."""

    def __init__(self, architecture: Architecture, *, landmarks: bool) -> None:
        super().__init__()
        self.backbone = Backbone(architecture)
        self.pyramid = Pyramid(architecture.stage_planes[1:], architecture.pyramid_planes)
        self.heads = nn.ModuleList(
            Head(
                architecture.pyramid_planes,
                architecture.head_planes,
                architecture.head_blocks,
                landmarks=landmarks,
            )
            for _ in STRIDES
        )

    def forward(self, images: Tensor) -> list[list[Tensor]]:
        """One list for each kind of output (scores, boxes, landmarks), with a tensor for each stride.

        Args:
            images: (N, 3, H, W) RGB, (x - 127.5) / 128; H and W multiples of 32.
        """
        levels = self.pyramid(self.backbone(images))
        outputs = [head(level) for head, level in zip(self.heads, levels, strict=True)]
        return [list(kind) for kind in zip(*outputs, strict=True)]


def _rows(output: Tensor) -> Tensor:
    """(N, 2·C, h, w) to (N, h·w·2, C): cells in rows, the two anchors of a cell beside each other."""
    count, channels = output.shape[0], output.shape[1] // ANCHORS
    return output.permute(0, 2, 3, 1).reshape(count, -1, channels)
