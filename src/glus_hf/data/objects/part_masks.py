"""Masks of whole objects out of masks of objects and their parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask


OVERLAP = 0.5  # that of the original code; the paper names none


def whole_objects(masks: Sequence[dict], overlap: float = OVERLAP) -> list[int]:
    """Non-maximum suppression with the area as score: a mask of which more than `overlap` lies in a larger mask that
    is kept is a part of that (GLEE, supplement, section 1).

    Args:
        masks: run lengths of one image, as [`clean_masks`] returns them.
        overlap: share of the smaller mask, 0 to 1.

    Returns:
        Places of the masks that are kept, in order.

    Example:
        >>> car, wheel = {"size": [1, 4], "counts": "04"}, {"size": [1, 4], "counts": "112"}
        >>> whole_objects([wheel, car])
        [1]
    """
    if not masks:
        return []
    rles = [{"size": mask["size"], "counts": mask["counts"].encode("ascii")} for mask in masks]
    areas = coco_mask.area(rles)
    kept: list[int] = []
    shares = coco_mask.iou(rles, rles, [1] * len(rles))  # of the first mask, how much lies in the second
    for index in np.argsort(-areas.astype(np.int64), kind="stable"):
        if not kept or shares[index, kept].max() <= overlap:
            kept.append(int(index))
    return sorted(kept)


__all__ = ["OVERLAP", "whole_objects"]
