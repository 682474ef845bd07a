"""Mask and [SEG] losses of GLUS (the original code's constants; paper, section 3.4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.utils import ModelOutput

from .llama_prompts import IGNORE_INDEX


DICE_SCALE = 1000.0
DICE_EPS = 1e-6


@dataclass
class GLUSSegmentationOutput(ModelOutput):
    """Output of a model of the GLUS recipe on a training batch. Terms are unweighted; `loss` is their weighted sum.

    Args:
        loss (`torch.FloatTensor`, *optional*): `ce + 2 bce + 0.5 dice` with the weights of the config.
        ce_loss (`torch.FloatTensor`, *optional*): cross entropy over the supervised positions of `labels`.
        mask_bce_loss, mask_dice_loss (`torch.FloatTensor`, *optional*): mean over all masks of the batch.
        mask_logits (`tuple[torch.FloatTensor]`, *optional*): per video `[expressions, num_query_frames, h, w]`.
        seg_embeddings (`torch.FloatTensor [conversations, num_query_frames, dim]`): the projected [SEG] states.
        hidden_states (`torch.FloatTensor [conversations, length, hidden]`): last states of the language model. With
            labels and packed expressions (GLUS), zero where no loss and no [SEG] reads one.
    """

    loss: torch.FloatTensor | None = None
    ce_loss: torch.FloatTensor | None = None
    mask_bce_loss: torch.FloatTensor | None = None
    mask_dice_loss: torch.FloatTensor | None = None
    mask_logits: tuple[torch.FloatTensor, ...] | None = None
    seg_embeddings: torch.FloatTensor | None = None
    hidden_states: torch.FloatTensor | None = None


def mask_bce_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross entropy of each mask, mean over its pixels: `[..., H, W]` logits, targets in [0, 1] -> `[...]`.

    The original code's targets are 2 where two objects overlap; the formula `softplus(x) - x t` is the same there.
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


def seg_cross_entropy(head: Callable[[Tensor], Tensor], states: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy over the supervised positions of `labels [n, length]`, from states `[n, length, hidden]`."""
    targets = labels[:, 1:].to(states.device)
    supervised = targets != IGNORE_INDEX
    return F.cross_entropy(head(states[:, :-1][supervised]).float(), targets[supervised])


def add_losses(
    output: GLUSSegmentationOutput,
    config,
    head: Callable[[Tensor], Tensor],
    labels: Tensor | None,
    mask_labels: Sequence[Tensor] | None,
) -> GLUSSegmentationOutput:
    """Fill in the terms that there are labels for, and `loss`, their sum with the weights of the config.

    Args:
        output: with `hidden_states`, and with `mask_logits` where there are `mask_labels`.
        config: with the weights of the loss.
        head: from last states to logits over the vocabulary.
        labels: `[conversations, length]`, -100 where unsupervised; not shifted.
        mask_labels: per video `[expressions, frames, H, W]`.
    """
    if labels is not None:
        output.ce_loss = seg_cross_entropy(head, output.hidden_states, labels)
        output.loss = config.ce_loss_weight * output.ce_loss
    if mask_labels is not None:
        output.mask_bce_loss, output.mask_dice_loss = mask_losses(list(output.mask_logits), mask_labels)
        mask_loss = config.mask_bce_loss_weight * output.mask_bce_loss
        mask_loss = mask_loss + config.mask_dice_loss_weight * output.mask_dice_loss
        output.loss = mask_loss if output.loss is None else output.loss + mask_loss.to(output.loss.device)
    return output


def select_seg_states(input_ids: Tensor, states: Tensor, seg_token_id: int) -> Tensor:
    """States `[n, length, hidden]` at the positions whose next token is [SEG]: `[n, number of [SEG], hidden]`.

    Raises:
        ValueError: the conversations differ in their number of [SEG].
    """
    predicts_seg = input_ids[:, 1:] == seg_token_id
    found = predicts_seg.sum(1)
    if found.numel() == 0 or (found != found[0]).any():
        raise ValueError(f"Every conversation needs the same number of [SEG] tokens, got {found.tolist()}.")
    return states[:, :-1][predicts_seg.to(states.device)].unflatten(0, (len(input_ids), -1))


def read_positions(input_ids: Tensor, labels: Tensor, seg_token_id: int) -> Tensor:
    """Which states are read for [SEG] or a label of `[n, length]`: those before it, as bool."""
    read = torch.zeros_like(input_ids, dtype=torch.bool)
    read[:, :-1] = (input_ids[:, 1:] == seg_token_id) | (labels[:, 1:].to(read.device) != IGNORE_INDEX)
    return read


__all__ = [
    "GLUSSegmentationOutput",
    "add_losses",
    "mask_bce_loss",
    "mask_dice_loss",
    "mask_losses",
    "read_positions",
    "seg_cross_entropy",
    "select_seg_states",
]
