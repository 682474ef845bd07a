"""Predictions of GLEE as objects of an image: scores, names, boxes and masks at the image's own size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .geometry_glee import boxes_in_pixels, mask_confidence, to_original_size


STRIDE = 4  # of mask logits, where outputs do not tell


def select_objects(
    outputs, image: int, resized: tuple[int, int], original: tuple[int, int], threshold: float, top_k: int
) -> dict[str, Tensor]:
    """The best pairs of query and name of one image, best first.

    A pair's score is that of the class times the mean probability inside the predicted mask.

    Args:
        outputs ([`GLEESegmentationOutput`]): of a batch.
        image: index in it.
        resized, original: (height, width) of the image in the batch, and its own.
        threshold: pairs whose score is not above it are left out.
        top_k: pairs that are looked at, chosen by the score of the class.

    Returns:
        `scores [n]`, `labels [n]`, `boxes [n, 4]` (x0, y0, x1, y1 in pixels), `masks [n, height, width]` of bool.
    """
    logits = outputs.logits[image]
    count = logits.shape[-1]
    class_scores, flat = logits.flatten().sigmoid().topk(min(top_k, logits.numel()))
    queries, labels = flat // count, flat % count
    padded = _padded_size(outputs)
    kept, used = queries.unique(return_inverse=True)
    masks = to_original_size(outputs.pred_masks[image, kept], padded, resized, original)
    scores = class_scores * mask_confidence(masks)[used]
    order = scores.argsort(descending=True)
    order = order[scores[order] > threshold]
    boxes = boxes_in_pixels(outputs.pred_boxes[image, queries[order]], padded, resized, original)
    return {"scores": scores[order], "labels": labels[order], "boxes": boxes, "masks": masks[used[order]] > 0}


def select_prompted(
    outputs, prompt: int, resized: tuple[int, int], original: tuple[int, int], score_source: str
) -> dict[str, Tensor]:
    """The query that answers a visual prompt: `masks [height, width]` of bool, `scores []` and `boxes [4]`."""
    logits = outputs.confidence_logits if score_source == "confidence" else outputs.logits
    score, query = logits[prompt, :, 0].sigmoid().max(0)
    padded = _padded_size(outputs)
    at = slice(int(query), int(query) + 1)
    mask = to_original_size(outputs.pred_masks[prompt, at], padded, resized, original)[0] > 0
    box = boxes_in_pixels(outputs.pred_boxes[prompt, at], padded, resized, original)[0]
    return {"masks": mask, "scores": score, "boxes": box}


def _padded_size(outputs) -> tuple[int, int]:
    return outputs.padded_size or tuple(STRIDE * side for side in outputs.pred_masks.shape[-2:])


def with_names(result: dict, names: Sequence[str] | None) -> dict:
    """The result with the names of its labels, where names are given."""
    return (
        result if names is None else {**result, "text_labels": [names[label] for label in result["labels"].tolist()]}
    )


def without_masks(result: dict) -> dict:
    return {name: value for name, value in result.items() if name != "masks"}


def as_sizes(target_sizes) -> list[tuple[int, int]]:
    """(height, width) of each image from a list of pairs or a tensor `[images, 2]`."""
    sizes = target_sizes.tolist() if isinstance(target_sizes, torch.Tensor) else target_sizes
    return [(int(height), int(width)) for height, width in sizes]


__all__ = ["as_sizes", "select_objects", "select_prompted", "with_names", "without_masks"]
