"""What training makes small."""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

BETA: Final = 2.0
EPSILON: Final = 1e-7


def iou_and_diou(predicted: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union, and with the distance of the centres taken off.

    Zheng et al., "Distance-IoU Loss", arXiv 1911.08287: DIoU = IoU - d² / c², d the distance of the centres
    and c the diagonal of the smallest box around both.

    Args:
        predicted: (N, 4) x1, y1, x2, y2.
        target: (N, 4) likewise.

    Returns:
        IoU (N,) in 0..1 and DIoU (N,) in -1..1.
    """
    low = torch.maximum(predicted[:, :2], target[:, :2])
    high = torch.minimum(predicted[:, 2:], target[:, 2:])
    common = (high - low).clamp(min=0).prod(1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1) for boxes in (predicted, target)]
    iou = common / (areas[0] + areas[1] - common + EPSILON)
    around = torch.maximum(predicted[:, 2:], target[:, 2:]) - torch.minimum(predicted[:, :2], target[:, :2])
    apart = ((predicted[:, :2] + predicted[:, 2:]) - (target[:, :2] + target[:, 2:])) / 2
    return iou, iou - apart.square().sum(1) / (around.square().sum(1) + EPSILON)


def quality_focal_loss(logits: Tensor, quality: Tensor) -> Tensor:
    """Cross entropy towards a quality in 0..1, weighted by how far away the score is.

    Li et al., "Generalized Focal Loss", arXiv 2006.04388: |y - σ|^β · CE(σ, y), β = 2.

    Args:
        logits: (N,) scores before the sigmoid.
        quality: (N,) IoU of the predicted box for anchors of a face, 0 for the background.

    Returns:
        (N,) losses.
    """
    weights = (quality - logits.sigmoid()).abs().pow(BETA)
    return weights * functional.binary_cross_entropy_with_logits(logits, quality, reduction="none")
