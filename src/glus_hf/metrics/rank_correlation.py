"""Spearman's rank correlation, ties sharing their mean rank."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Correlation of the ranks of two sequences, in [-1, 1]; None where one of them is constant or shorter than two.

    Example:

        >>> spearman([0.1, 0.5, 0.9], [3, 7, 8])
        1.0
    """
    first, second = _ranks(first), _ranks(second)
    if len(first) != len(second):
        raise ValueError(f"there are {len(first)} and {len(second)} values to correlate")
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    first, second = first - first.mean(), second - second.mean()
    return float(round((first * second).sum() / np.sqrt((first**2).sum() * (second**2).sum()), 12))


def _ranks(values: Sequence[float]) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[inverse]


__all__ = ["spearman"]
