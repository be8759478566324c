import math

import pytest
import torch

from models.training.losses import iou_and_diou, quality_focal_loss


def test_diou_takes_the_distance_of_the_centres_off() -> None:
    predicted = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]])
    target = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10]])
    iou, diou = iou_and_diou(predicted, target)
    assert iou.tolist() == pytest.approx([1, 1 / 3, 0], abs=1e-5)
    # centres 5 and 10 apart, the boxes around both 15x10 and 20x10
    assert diou.tolist() == pytest.approx([1, 1 / 3 - 25 / 325, -100 / 500], abs=1e-5)


def test_a_box_inside_out_has_no_overlap() -> None:
    iou, diou = iou_and_diou(torch.tensor([[10.0, 10, 0, 0]]), torch.tensor([[0.0, 0, 10, 10]]))
    assert iou.item() == 0
    assert math.isfinite(diou.item())


def test_quality_focal_loss_is_cross_entropy_weighted_by_the_distance() -> None:
    logits, quality = torch.tensor([0.0, 0.0, 0.0]), torch.tensor([0.5, 1.0, 0.0])
    losses = quality_focal_loss(logits, quality)
    assert losses.tolist() == pytest.approx([0, 0.25 * math.log(2), 0.25 * math.log(2)])
