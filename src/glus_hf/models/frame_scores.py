"""Scores of frames, of any model that chooses key frames."""

from __future__ import annotations

import numpy as np

from ..errors import UserError


def best_frames(scores) -> np.ndarray:
    """Index of the best frame along the last axis; the first of several equally good ones.

    Raises:
        `UserError`: a score is no finite number; one line.
    """
    return finite_scores(scores).argmax(-1)


def finite_scores(scores) -> np.ndarray:
    """The scores as an array; `UserError` where one is no finite number."""
    scores = np.asarray(scores)
    if not np.isfinite(scores).all():
        raise UserError("scores of a selector are not finite; check its weights or load it in float32")
    return scores


__all__ = ["best_frames", "finite_scores"]
