"""Masks at the size of the video, and how sure a model is of them: one expression at a time, in the memory of the
result."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


EMPTY_LOGIT = -100.0


def resize_and_score(
    low: Tensor, size: tuple[int, int], probabilities: Tensor, answered: Sequence[bool], order: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Logits of one frame at the size of the video, and the score of each mask.

    One expression at a time: its pixels stay in the processor's cache, and nothing but the result is ever held.

    Args:
        low: mask logits `[n, h, w]` as the mask decoder gives them.
        size: height and width of the video.
        probabilities: of the answer, `[n]`.
        answered: whether there is one; if not, all logits are -100 and the score is 0.
        order: which of the n comes where in the result.

    Returns:
        `float32 [n, height, width]`, and `float32 [n]` in [0, 1]: probability x [`mask_confidence`].

    Example:

        >>> logits, scores = resize_and_score(torch.ones(1, 2, 2), (4, 6), torch.tensor([0.5]), [True], [0])
        >>> logits.shape, scores
        (torch.Size([1, 4, 6]), tensor([0.3655]))
    """
    logits = torch.empty(len(order), *size, device=low.device)
    scores = torch.zeros(len(order), device=low.device)
    for row, index in enumerate(order):
        if not answered[index]:
            logits[row] = EMPTY_LOGIT
            continue
        one = low[index][None, None].float()
        logits[row] = F.interpolate(one, size=size, mode="bilinear", align_corners=False)[0, 0]
        scores[row] = probabilities[index].to(low.device) * mask_confidence(logits[row])
    return logits, scores


def mask_confidence(logits: Tensor) -> Tensor:
    """Mean probability of the pixels inside a mask, 0 for an empty one: `[height, width]` -> a number.

    Summed row by row, and these sums: threads that share one long sum would change its last digits.

    Example:

        >>> mask_confidence(torch.tensor([[3.0, -3.0], [-1.0, -2.0]]))
        tensor(0.9526)
    """
    sums, rows = logits.new_zeros(len(logits)), _rows_inside(logits)
    inside = logits[rows] > 0
    sums[rows] = logits[rows].sigmoid().mul_(inside).sum(-1)
    return sums.sum(-1) / inside.sum().clamp(min=1)


def _rows_inside(logits: Tensor) -> slice:
    """The rows with a pixel inside; all on an accelerator, where one would have to wait for the answer."""
    if logits.device.type != "cpu":
        return slice(None)
    rows = (logits.amax(-1) > 0).nonzero()[:, 0].tolist()
    return slice(rows[0], rows[-1] + 1) if rows else slice(0)


__all__ = ["EMPTY_LOGIT", "mask_confidence", "resize_and_score"]
