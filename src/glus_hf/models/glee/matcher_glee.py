"""Which query answers for which target: the cheapest assignment of an image, by class, box and mask."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from transformers.image_transforms import center_to_corners_format
from transformers.loss.loss_for_object_detection import generalized_box_iou
from transformers.models.mask2former.modeling_mask2former import (
    pair_wise_dice_loss,
    pair_wise_sigmoid_cross_entropy_loss,
    sample_point,
)

from .configuration_glee import GLEEConfig
from .draws_glee import GLEEDraws
from .heads_glee import GLEEPredictions


ALPHA, GAMMA, EPSILON = 0.25, 2.0, 1e-6  # of the focal cost


@torch.no_grad()
def match_queries(
    predictions: GLEEPredictions, labels: list[dict[str, Tensor]], config: GLEEConfig, draws: GLEEDraws, stage: str
) -> list[tuple[Tensor, Tensor]]:
    """Per image, indices of queries, ascending, and of the targets they answer for.

    Args:
        predictions: of n queries.
        labels: per image `class_labels [k]`, `boxes [k, 4]` and, unless only boxes are known, `masks [k, height,
            width]`.
        config: for the weights of the costs.
        draws: "matching.<stage>.<image>", the points at which masks are compared.
        stage: name of the predictions in `draws`.
    """
    matches = []
    for image, target in enumerate(labels):
        one = GLEEPredictions(**{name: value[image].detach() for name, value in predictions.items()})
        costs = class_costs(one.logits, target["class_labels"]) * config.class_loss_weight
        costs = costs + box_costs(one.pred_boxes, target["boxes"], config)
        if target.get("masks") is not None and len(target["masks"]) > 0:
            shape = (1, config.train_num_points, 2)
            points = draws.uniform(f"matching.{stage}.{image}", shape, costs.device)
            costs = costs + mask_costs(one.pred_masks, target["masks"], points, config)
        pair = linear_sum_assignment(costs.nan_to_num(0.0, posinf=1e9, neginf=-1e9).cpu())
        matches.append(tuple(torch.as_tensor(indices) for indices in pair))
    return matches


def class_costs(logits: Tensor, classes: Tensor) -> Tensor:
    """Focal costs `[n, k]` of logits `[n, names]`."""
    probability = logits.sigmoid()
    negative = (1 - ALPHA) * probability**GAMMA * -(1 - probability + EPSILON).log()
    positive = ALPHA * (1 - probability) ** GAMMA * -(probability + EPSILON).log()
    return (positive - negative)[:, classes]


def box_costs(boxes: Tensor, targets: Tensor, config: GLEEConfig) -> Tensor:
    """L1 and generalized IoU costs `[n, k]` of boxes `[n, 4]`."""
    overlap = generalized_box_iou(center_to_corners_format(boxes), center_to_corners_format(targets))
    return config.box_loss_weight * torch.cdist(boxes, targets, p=1) - config.giou_loss_weight * overlap


def mask_costs(logits: Tensor, targets: Tensor, points: Tensor, config: GLEEConfig) -> Tensor:
    """Cross entropy and Dice costs `[n, k]` of mask logits `[n, h, w]` at points `[1, points, 2]`."""
    ours = sample_point(logits[:, None], points.expand(len(logits), -1, -1), align_corners=False)[:, 0]
    theirs = targets[:, None].to(logits)
    theirs = sample_point(theirs, points.expand(len(theirs), -1, -1), align_corners=False)[:, 0]
    entropy, dice = pair_wise_sigmoid_cross_entropy_loss(ours, theirs), pair_wise_dice_loss(ours, theirs)
    return config.mask_loss_weight * entropy + config.dice_loss_weight * dice


__all__ = ["match_queries"]
