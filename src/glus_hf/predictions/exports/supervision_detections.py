"""Masks of one frame as `supervision.Detections`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...errors import UserError


def to_detections(results: Mapping | Sequence[Mapping], frame: int):
    """What the pipeline found in one frame, for the `supervision` library (its trackers, annotators, zones).

    Args:
        results: one result of the pipeline, or the list for several expressions.
        frame: number of the frame, 0..T-1.

    Returns:
        `supervision.Detections` of the expressions with a mask in this frame: `xyxy` `[n, 4]`, `mask`
        `[n, height, width]` bool, `confidence` `[n]`, `class_id` and `tracker_id` (both the number of the
        expression), `data["class_name"]` (the expression).

    Raises:
        UserError: `supervision` is not installed, or there is no such frame.

    Example:
        >>> detections = to_detections(results, 12)  # doctest: +SKIP
        >>> supervision.MaskAnnotator().annotate(frame, detections)  # doctest: +SKIP
    """
    try:
        import supervision
    except ImportError:
        raise UserError("to_detections needs the package supervision: pip install supervision") from None
    results = [results] if isinstance(results, Mapping) else list(results)
    for result in results:
        if not 0 <= frame < len(result["masks"]):
            raise UserError(f"there is no frame {frame} in {len(result['masks'])} frames, counted from 0")
    seen = [index for index, result in enumerate(results) if result["masks"][frame].any()]
    if not seen:
        return supervision.Detections.empty()
    masks = np.stack([results[index]["masks"][frame] for index in seen])
    return supervision.Detections(
        xyxy=np.array([_corners(mask) for mask in masks], dtype=np.float32),
        mask=masks,
        confidence=np.array([results[index]["scores"][frame] for index in seen], dtype=np.float32),
        class_id=np.array(seen),
        tracker_id=np.array(seen),
        data={"class_name": np.array([results[index]["label"] for index in seen])},
    )


def _corners(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom edges of a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


__all__ = ["to_detections"]
