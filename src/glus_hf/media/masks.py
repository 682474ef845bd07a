"""What a mask is: a boolean array `[height, width]`."""

from __future__ import annotations

import numpy as np

from ..errors import UserError


def boolean_mask(mask: np.ndarray) -> np.ndarray:
    """A mask as an array.

    Raises:
        UserError: it is no boolean `[height, width]` array.

    Example:
        >>> boolean_mask([[True, False]]).shape
        (1, 2)
    """
    mask = np.asarray(mask)
    if mask.dtype != np.bool_ or mask.ndim != 2 or mask.size == 0:
        raise UserError(f"a mask must be a boolean [height, width] array, got {mask.dtype} of shape {mask.shape}")
    return mask


__all__ = ["boolean_mask"]
