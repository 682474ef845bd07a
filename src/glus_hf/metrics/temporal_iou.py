"""tIoU and vIoU of Long-RVOS: does the answer name the right moments, and how good is it in them?"""

from collections.abc import Sequence

import numpy as np


def temporal_iou(
    predicted: Sequence[bool], present: Sequence[bool], j: Sequence[float] | np.ndarray
) -> dict[str, float]:
    """Temporal and spatio-temporal overlap of one expression.

    Args:
        predicted: for each frame, whether the predicted mask has a pixel.
        present: for each frame, whether the target has a pixel.
        j: for each frame, region similarity J.

    Returns:
        `tIoU`: frames with both divided by frames with either. `vIoU`: sum of J over the frames with both divided by
        frames with either. Both in `[0, 1]`, and 1 where no frame has either.

    Raises:
        ValueError: the arguments have different lengths.

    Example:
        >>> temporal_iou(predicted=[True, True, False], present=[True, False, False], j=[0.5, 0.0, 1.0])
        {'tIoU': 0.5, 'vIoU': 0.25}
    """
    predicted, present = np.asarray(predicted, dtype=bool), np.asarray(present, dtype=bool)
    j = np.asarray(j, dtype=float)
    if not predicted.shape == present.shape == j.shape:
        raise ValueError(
            f"got {len(predicted)} predicted frames, {len(present)} target frames and {len(j)} values of J"
        )
    both, either = predicted & present, np.count_nonzero(predicted | present)
    if not either:
        return {"tIoU": 1.0, "vIoU": 1.0}
    return {"tIoU": float(np.count_nonzero(both) / either), "vIoU": float(j[both].sum() / either)}
