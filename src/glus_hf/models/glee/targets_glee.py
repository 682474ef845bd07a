"""Targets of training: masks of an image in the place where the resized and padded image has them, and their boxes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def image_targets(
    masks: Tensor, classes: Tensor, resized: tuple[int, int], padded: tuple[int, int]
) -> dict[str, Tensor]:
    """Labels of one image for [`GLEEForVideoSegmentation`]; objects without a pixel are left out.

    Args:
        masks: `[n, height, width]` of bool, at the image's own size.
        classes: `[n]`.
        resized, padded: (height, width) of the image in the batch, without and with padding.

    Returns:
        `class_labels [k]`, `boxes [k, 4]` (centre x, centre y, width, height as parts of the padded image) and `masks
        [k, padded height, padded width]` of bool.

    Example:

        >>> masks = torch.zeros(2, 4, 8, dtype=torch.bool)
        >>> masks[0, :2, 4:] = True
        >>> labels = image_targets(masks, torch.tensor([0, 1]), resized=(8, 16), padded=(32, 32))
        >>> labels["class_labels"].tolist(), labels["boxes"].tolist()
        ([0], [[0.375, 0.0625, 0.25, 0.125]])
    """
    if len(masks) == 0:  # which cannot be interpolated
        return {"class_labels": classes, "boxes": torch.zeros(0, 4), "masks": masks.new_zeros(0, *padded)}
    scaled = F.interpolate(masks[None].float(), resized, mode="bilinear", align_corners=False)[0] >= 0.5
    placed = F.pad(scaled, (0, padded[1] - resized[1], 0, padded[0] - resized[0]))
    is_there = placed.flatten(1).any(1)
    placed = placed[is_there]
    return {"class_labels": classes[is_there], "boxes": boxes_of_masks(placed), "masks": placed}


def box_targets(
    boxes: Tensor, classes: Tensor, original: tuple[int, int], resized: tuple[int, int], padded: tuple[int, int]
) -> dict[str, Tensor]:
    """Labels of one image of whose objects only the boxes are known; those without an area are left out.

    Args:
        boxes: `[n, 4]`, x0, y0, x1, y1 in pixels of the image.
        classes: `[n]`.
        original, resized, padded: (height, width) of the image itself, and in the batch without and with padding.

    Returns:
        `class_labels [k]` and `boxes [k, 4]`, as of [`image_targets`].

    Example:

        >>> box = torch.tensor([[4.0, 0.0, 8.0, 2.0]])
        >>> box_targets(box, torch.tensor([3]), (4, 8), (8, 16), (32, 32))["boxes"].tolist()
        [[0.375, 0.0625, 0.25, 0.125]]
    """
    (height, width), limits = original, boxes.new_tensor([original[1], original[0]] * 2)
    corners = torch.minimum(boxes.clamp(min=0), limits)
    is_there = (corners[:, 2:] > corners[:, :2]).all(1)
    scale = boxes.new_tensor([resized[1] / width / padded[1], resized[0] / height / padded[0]])
    first, last = corners[is_there, :2] * scale, corners[is_there, 2:] * scale
    return {"class_labels": classes[is_there], "boxes": torch.cat([(first + last) / 2, last - first], 1)}


def boxes_of_masks(masks: Tensor) -> Tensor:
    """Boxes `[n, 4]` around masks `[n, height, width]` that have pixels: centre and size as parts of the image."""
    edges = []
    for axis in (1, 2):  # rows seen from the side, then columns seen from above: columns give x
        seen = masks.any(axis)
        length = seen.shape[1]
        at = torch.arange(length, device=masks.device)
        first = torch.where(seen, at, length).amin(1)
        last = torch.where(seen, at, -1).amax(1) + 1
        edges.append(torch.stack([first, last], 1) / length)
    (x0, x1), (y0, y1) = edges[0].T, edges[1].T
    return torch.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], 1)


__all__ = ["box_targets", "boxes_of_masks", "image_targets"]
