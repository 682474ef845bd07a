"""From the padded image that the model sees to the image itself: boxes, masks and how sure a mask is."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def to_original_size(logits: Tensor, padded: tuple, resized: tuple, original: tuple) -> Tensor:
    """Mask logits `[n, h, w]` of a padded image at the image's own size, `[n, height, width]`; sizes are (height,
    width)."""
    if len(logits) == 0:
        return logits.new_zeros(0, *original)
    logits = F.interpolate(logits[:, None].float(), padded, mode="bilinear", align_corners=False)
    logits = logits[..., : resized[0], : resized[1]]
    return F.interpolate(logits, original, mode="bilinear", align_corners=False)[:, 0]


def boxes_in_pixels(boxes: Tensor, padded: tuple, resized: tuple, original: tuple) -> Tensor:
    """Boxes `[n, 4]` from centre and size as parts of a padded image to corners x0, y0, x1, y1 in pixels of the image.

    Example:

        >>> box = torch.tensor([[0.25, 0.25, 0.5, 0.5]])
        >>> boxes_in_pixels(box, padded=(64, 64), resized=(64, 32), original=(128, 64)).tolist()
        [[0.0, 0.0, 64.0, 64.0]]
    """
    scale = [padded[axis] / resized[axis] * original[axis] for axis in (1, 0)]
    centres, halves = boxes[:, :2].float(), boxes[:, 2:].float() / 2
    corners = torch.cat([centres - halves, centres + halves], 1) * boxes.new_tensor(scale * 2, dtype=torch.float32)
    limits = corners.new_tensor([original[1], original[0]] * 2)
    return torch.minimum(corners.clamp(min=0), limits)


def mask_confidence(logits: Tensor) -> Tensor:
    """Mean probability of the pixels inside each mask, 0 for an empty one: `[n, height, width]` -> `[n]`."""
    inside = (logits > 0).flatten(1)
    return (logits.flatten(1).sigmoid() * inside).sum(1) / inside.sum(1).clamp(min=1)


__all__ = ["boxes_in_pixels", "mask_confidence", "to_original_size"]
