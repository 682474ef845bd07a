"""Mask and [SEG] losses of GLUS (upstream's constants; paper, section 3.4)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


DICE_SCALE = 1000.0
DICE_EPS = 1e-6


def mask_bce_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross entropy of each mask, mean over its pixels: `[..., H, W]` logits, targets in [0, 1] -> `[...]`.

    Upstream's targets are 2 where two objects overlap; the formula `softplus(x) - x t` is the same there.
    """
    return F.binary_cross_entropy_with_logits(logits.float(), targets.float(), reduction="none").mean((-2, -1))


def mask_dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Dice loss of each mask, `[..., H, W]` -> `[...]` in [0, 1]; about 1 for a mask over an empty target."""
    probabilities = logits.float().sigmoid() / DICE_SCALE
    targets = targets.float()
    overlap = 2 * (probabilities * targets).sum((-2, -1))
    total = probabilities.sum((-2, -1)) + targets.sum((-2, -1)) / DICE_SCALE
    return 1 - (overlap + DICE_EPS) / (total + DICE_EPS)


def mask_losses(mask_logits: list[Tensor], mask_labels: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean BCE and mean Dice over all masks of all videos, each mask counting once.

    Args:
        mask_logits: per video, `[expressions, frames, h, w]` logits of any size.
        mask_labels: per video, `[expressions, frames, H, W]`; logits are resized to it (bilinear).
    """
    bce, dice = [], []
    for logits, labels in zip(mask_logits, mask_labels, strict=True):
        labels = labels.to(logits.device)
        resized = F.interpolate(logits.float(), size=labels.shape[-2:], mode="bilinear", align_corners=False)
        bce.append(mask_bce_loss(resized, labels).flatten())
        dice.append(mask_dice_loss(resized, labels).flatten())
    return torch.cat(bce).mean(), torch.cat(dice).mean()
