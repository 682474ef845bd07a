"""Region similarity J and contour accuracy F of the DAVIS benchmark, bit for bit and faster.

Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation", CVPR 2016, §4, in the
form of the DAVIS 2017 evaluation that every referring video segmentation benchmark shares. The speed comes from
working on bits (see packed_masks.py), from dilating only the rows a contour can reach, and from keeping a mask's
contour and dilation: the expressions of a video share their targets.
"""

import math
from functools import cached_property

import numpy as np

from .overlap import overlap
from .packed_masks import contour_pixels, count_pixels, dilate, pack_mask


BOUND = 0.008
"""Tolerance of F as a fraction of the image diagonal, the same in every benchmark."""


class ScoredMask:
    """One mask, prepared for J and F against any number of others of the same size.

    Args:
        mask: `[height, width]`, bool.
        bound: tolerance of F as a fraction of the image diagonal; a value of 1 or more is a radius in pixels.

    Raises:
        ValueError: the mask is not boolean or `bound` is negative.

    Example:
        >>> target = ScoredMask(np.array([[True, True, False]]))
        >>> ScoredMask(np.array([[True, False, False]])).j_and_f(target)
        (0.5, 1.0)
    """

    def __init__(self, mask: np.ndarray, bound: float = BOUND):
        (mask,) = _checked_masks(2, mask=mask)
        if not bound >= 0:
            raise ValueError(f"bound must not be negative, got {bound}")
        self.shape = mask.shape
        radius = int(bound) if bound >= 1 else math.ceil(bound * np.linalg.norm(mask.shape))
        self._radius = min(radius, sum(mask.shape))  # everything is within reach of everything
        self._bits = pack_mask(mask, padding=max(self._radius, 1))

    @cached_property
    def area(self) -> int:
        """Number of pixels of the mask."""
        return count_pixels(self._bits)

    def j_and_f(self, target: "ScoredMask") -> tuple[float, float]:
        """`(J, F)` against `target`, each in `[0, 1]`; see [`region_similarity`] and [`contour_accuracy`].

        Raises:
            ValueError: the sizes or the tolerances differ.
        """
        self._check_same(target)
        shared = count_pixels(self._bits & target._bits)
        union = self.area + target.area - shared
        return (shared / union if union else 1.0), self.contour_accuracy(target)

    def contour_accuracy(self, target: "ScoredMask") -> float:
        """F against `target`; see [`contour_accuracy`]."""
        self._check_same(target)
        if not self._length or not target._length:
            return float(self._length == target._length)
        precision = target._count_within_reach(self) / self._length
        recall = self._count_within_reach(target) / target._length
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

    @cached_property
    def _contour(self) -> np.ndarray:
        return contour_pixels(self._bits, self.shape[1])

    @cached_property
    def _length(self) -> int:
        return count_pixels(self._contour)

    @cached_property
    def _reach(self) -> tuple[slice, np.ndarray]:
        """The rows within the tolerance of the contour, and what they hold of the dilated contour."""
        rows = np.flatnonzero(self._contour.any(axis=1))
        window = slice(max(rows[0] - self._radius, 0), rows[-1] + 1 + self._radius)
        return window, dilate(self._contour[window], self._radius)

    def _count_within_reach(self, other: "ScoredMask") -> int:
        window, dilated = self._reach
        return count_pixels(other._contour[window] & dilated)

    def _check_same(self, other: "ScoredMask") -> None:
        if (self.shape, self._radius) != (other.shape, other._radius):
            raise ValueError(
                f"the prediction is {self.shape} and the target {other.shape}, tolerances {self._radius} and "
                f"{other._radius} pixels: make them equal"
            )


def region_similarity(prediction: np.ndarray, target: np.ndarray, empty: float | None = 1.0) -> float | None:
    """J: intersection over union of two masks; `empty` when both are.

    Args:
        prediction: `[height, width]`, bool.
        target: `[height, width]`, bool.
        empty: value for two empty masks.

    Returns:
        A value in `[0, 1]`.

    Raises:
        ValueError: an argument is not a boolean mask or the shapes differ.

    Example:
        >>> region_similarity(np.array([[True, True]]), np.array([[True, False]]))
        0.5
    """
    prediction, target = _checked_masks(2, prediction=prediction, target=target)
    intersection, union = overlap(prediction, target)
    return float(intersection / union) if union else empty


def contour_accuracy(prediction: np.ndarray, target: np.ndarray, bound: float = BOUND) -> float:
    """F: harmonic mean of the precision and recall of the predicted contour.

    A contour pixel counts as matched when the other contour passes within `r` pixels (Euclidean), where
    `r = ceil(bound * sqrt(height² + width²))`. Two masks without contour score 1, one without and one with score 0. A
    mask that fills the image has no contour, so it scores F=1 against an empty one, as in the official code.

    Args:
        prediction: `[height, width]`, bool.
        target: `[height, width]`, bool.
        bound: tolerance as a fraction of the image diagonal; a value of 1 or more is a radius in pixels.

    Returns:
        A value in `[0, 1]`.

    Raises:
        ValueError: an argument is not a boolean mask, the shapes differ or `bound` is negative.

    Example:
        >>> square = np.zeros((48, 64), dtype=bool); square[10:20, 10:20] = True
        >>> contour_accuracy(square, square)
        1.0
    """
    prediction, target = _checked_masks(2, prediction=prediction, target=target)
    return ScoredMask(prediction, bound).contour_accuracy(ScoredMask(target, bound))


def j_and_f(predictions: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """J, F and their mean over the frames of one expression.

    Args:
        predictions: `[frames, height, width]`, bool.
        targets: `[frames, height, width]`, bool.

    Returns:
        `{"j": mean J, "f": mean F, "j_and_f": (mean J + mean F) / 2}`, each in `[0, 1]`.

    Raises:
        ValueError: an argument is not boolean, the shapes differ or there is no frame.

    Example:
        >>> masks = np.zeros((3, 48, 64), dtype=bool)
        >>> j_and_f(masks, masks)
        {'j': 1.0, 'f': 1.0, 'j_and_f': 1.0}
    """
    predictions, targets = _checked_masks(3, prediction=predictions, target=targets)
    pairs = zip(predictions, targets, strict=True)
    scores = [ScoredMask(prediction).j_and_f(ScoredMask(target)) for prediction, target in pairs]
    j, f = (float(np.mean(values)) for values in zip(*scores, strict=True))
    return {"j": j, "f": f, "j_and_f": (j + f) / 2}


def _checked_masks(ndim: int, **masks: np.ndarray) -> list[np.ndarray]:
    masks = {name: np.asarray(mask) for name, mask in masks.items()}
    layout = "[height, width]" if ndim == 2 else "[frames, height, width]"
    for name, mask in masks.items():
        if mask.dtype != np.bool_:
            raise ValueError(f"the {name} must be boolean, got {mask.dtype}: threshold it first, as in `mask > 0`")
        if mask.ndim != ndim or mask.size == 0:
            raise ValueError(f"the {name} must be {layout} and not empty, got shape {mask.shape}")
    if len({mask.shape for mask in masks.values()}) > 1:
        prediction, target = (masks[name].shape for name in ("prediction", "target"))
        raise ValueError(f"the prediction is {prediction} but the target is {target}: resize one of them")
    return list(masks.values())
