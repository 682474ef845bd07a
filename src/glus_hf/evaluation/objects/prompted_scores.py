"""Scores of answers that are meant for one object each: expressions, clicks and boxes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from pycocotools import mask as coco_mask


HALF = 0.5


def box_iou(one: Sequence[float], other: Sequence[float]) -> float:
    """Overlap of two boxes x0, y0, x1, y1.

    Example:
        >>> box_iou([0, 0, 2, 2], [0, 0, 2, 1])
        0.5
    """
    boxes = [np.array([[x0, y0, x1 - x0, y1 - y0]], np.float64) for x0, y0, x1, y1 in (one, other)]
    return float(coco_mask.iou(*boxes, [0])[0, 0])


def mask_overlap(one: Mapping, other: Mapping) -> tuple[int, int]:
    """Intersection and union of two masks of one size, in pixels.

    Args:
        one, other: compressed run lengths.
    """
    pair = [{"size": each["size"], "counts": each["counts"].encode()} for each in (one, other)]
    union = int(coco_mask.area(coco_mask.merge(pair)))
    return int(coco_mask.area(coco_mask.merge(pair, intersect=True))), union


def compare_object(answer: Mapping, found: Mapping) -> dict:
    """`box_iou`, and where the object has a mask `mask_iou`, `intersection` and `union` of an answer.

    Args:
        answer: has `box` and `segmentation`.
        found: an object of a row.
    """
    scores = {"box_iou": box_iou(answer["box"], found["box"])}
    if found["mask"] is None:
        return scores
    intersection, union = mask_overlap(answer["segmentation"], found["mask"])
    return scores | {"mask_iou": intersection / union, "intersection": intersection, "union": union}


def referring_totals(records: Iterable[Mapping]) -> dict:
    """Totals of expressions, from 0 to 1.

    Args:
        records: of [`compare_object`], one per expression.

    Returns:
        `P@0.5`: the part of them whose box overlaps by more than a half. With masks also `mask_P@0.5`, `mIoU`, the
        mean of the overlaps, and `oIoU`, all intersections over all unions.

    Example:
        >>> referring_totals([{"box_iou": 0.6}, {"box_iou": 0.4}])
        {'num_expressions': 2, 'P@0.5': 0.5}
    """
    records = list(records)
    totals = {"num_expressions": len(records), "P@0.5": _mean([each["box_iou"] > HALF for each in records])}
    masks = [each for each in records if "mask_iou" in each]
    if not masks:
        return totals
    union = sum(each["union"] for each in masks)
    totals |= {"num_masks": len(masks), "mask_P@0.5": _mean([each["mask_iou"] > HALF for each in masks])}
    totals["mIoU"] = _mean([each["mask_iou"] for each in masks])
    return {**totals, "oIoU": sum(each["intersection"] for each in masks) / union}


def interactive_totals(records: Iterable[Mapping]) -> dict:
    """The mean overlap of masks by the kind of prompt, from 0 to 1.

    Args:
        records: of [`compare_object`] with `prompt`.

    Example:
        >>> interactive_totals([{"prompt": "point", "mask_iou": 0.5}, {"prompt": "point", "mask_iou": 1.0}])
        {'point': {'num_objects': 2, 'mIoU': 0.75}}
    """
    kinds: dict[str, list[float]] = {}
    for each in records:
        kinds.setdefault(each["prompt"], []).append(each["mask_iou"])
    return {kind: {"num_objects": len(values), "mIoU": _mean(values)} for kind, values in kinds.items()}


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


__all__ = ["box_iou", "compare_object", "interactive_totals", "mask_overlap", "referring_totals"]
