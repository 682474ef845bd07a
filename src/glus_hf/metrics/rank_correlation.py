"""Spearman's rank correlation, ties sharing their mean rank."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Correlation of the ranks of two sequences, rounded to 12 decimals.

    Args:
        first, second: `[values]`, equally many; nan among them makes the correlation nan.

    Returns:
        In [-1, 1]; None where one of them is constant or shorter than two.

    Raises:
        ValueError: they have different lengths.

    Example:

        >>> spearman([0.1, 0.5, 0.9], [3, 7, 8])
        1.0
    """
    first, second = (rankdata(np.asarray(values, dtype=np.float64)) for values in (first, second))
    if len(first) != len(second):
        raise ValueError(f"there are {len(first)} and {len(second)} values to correlate")
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    # not scipy.stats.spearmanr: deviations from the mean rank are exact here, and it divides by rounded norms
    first, second = first - first.mean(), second - second.mean()
    return float(round((first * second).sum() / np.sqrt((first**2).sum() * (second**2).sum()), 12))


__all__ = ["spearman"]
