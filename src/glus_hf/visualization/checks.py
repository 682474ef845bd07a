"""What a frame, its masks and their labels must be."""

from collections.abc import Sequence

import numpy as np

from ..errors import UserError


def checked_frame(frame: np.ndarray) -> np.ndarray:
    frame = np.asarray(frame)
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[-1] != 3 or not frame.size:
        raise UserError(f"a frame must be uint8 [height, width, 3], got {frame.dtype} of shape {frame.shape}")
    return frame


def checked_overlay(
    frame: np.ndarray, masks: np.ndarray, labels: Sequence[str] | None
) -> tuple[np.ndarray, np.ndarray]:
    frame, masks = checked_frame(frame), np.asarray(masks)
    masks = masks[None] if masks.ndim == 2 else masks
    if masks.dtype != np.bool_:
        raise UserError(f"masks must be boolean, got {masks.dtype}: threshold them first, as in `masks > 0`")
    if masks.ndim != 3 or masks.shape[1:] != frame.shape[:2]:
        raise UserError(f"masks of shape {masks.shape} do not fit a frame of {frame.shape[:2]} (height, width)")
    if isinstance(labels, str) or (labels is not None and len(labels) != len(masks)):
        raise UserError(f"labels must be a list of {len(masks)} texts, one per mask")
    return frame, masks


__all__ = ["checked_frame", "checked_overlay"]
