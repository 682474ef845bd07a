"""Pixels that masks share: what every intersection over union is made of."""

from __future__ import annotations


def overlap(prediction, target):
    """Pixels in both masks, and pixels in either: `[..., height, width]` bool of NumPy or torch -> `[...]` twice.

    Example:
        >>> import numpy as np
        >>> [int(count) for count in overlap(np.array([[True, True]]), np.array([[True, False]]))]
        [1, 2]
    """
    return (prediction & target).sum((-2, -1)), (prediction | target).sum((-2, -1))


__all__ = ["overlap"]
