"""Region similarity J and contour accuracy F of the DAVIS benchmark, bit for bit and faster.

Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation", CVPR 2016, §4, in the
form of the DAVIS 2017 evaluation that every referring video segmentation benchmark shares. The speed comes from two
facts: a contour's neighbourhood matters only where the other contour is, so both are cropped to their common bounding
box before dilation; and OpenCV dilates binary images quickly.
"""

import math

import cv2
import numpy as np


def region_similarity(prediction: np.ndarray, target: np.ndarray) -> float:
    """J: intersection over union of two masks; 1 when both are empty.

    Args:
        prediction: `[height, width]`, bool.
        target: `[height, width]`, bool.

    Returns:
        A value in `[0, 1]`.

    Raises:
        ValueError: an argument is not a boolean mask or the shapes differ.

    Example:
        >>> region_similarity(np.array([[True, True]]), np.array([[True, False]]))
        0.5
    """
    prediction, target = _checked_masks(prediction, target, ndim=2)
    union = np.count_nonzero(prediction | target)
    return float(np.count_nonzero(prediction & target) / union) if union else 1.0


def contour_accuracy(prediction: np.ndarray, target: np.ndarray, bound: float = 0.008) -> float:
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
    prediction, target = _checked_masks(prediction, target, ndim=2)
    if not bound >= 0:
        raise ValueError(f"bound must not be negative, got {bound}")
    # the contour depends on the image's edges, so it is taken before the crop
    predicted_contour, target_contour = _contour(prediction), _contour(target)
    num_predicted, num_target = np.count_nonzero(predicted_contour), np.count_nonzero(target_contour)
    if not num_predicted or not num_target:
        return float(num_predicted == num_target)

    crop = _bounding_box(predicted_contour | target_contour)
    predicted_contour, target_contour = predicted_contour[crop], target_contour[crop]
    disk = _disk(int(bound) if bound >= 1 else math.ceil(bound * np.linalg.norm(prediction.shape)))
    precision = np.count_nonzero(predicted_contour & _dilate(target_contour, disk)) / num_predicted
    recall = np.count_nonzero(target_contour & _dilate(predicted_contour, disk)) / num_target
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


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
    predictions, targets = _checked_masks(predictions, targets, ndim=3)
    pairs = list(zip(predictions, targets, strict=True))
    j = float(np.mean([region_similarity(*pair) for pair in pairs]))
    f = float(np.mean([contour_accuracy(*pair) for pair in pairs]))
    return {"j": j, "f": f, "j_and_f": (j + f) / 2}


def _checked_masks(prediction: np.ndarray, target: np.ndarray, ndim: int) -> tuple[np.ndarray, np.ndarray]:
    prediction, target = np.asarray(prediction), np.asarray(target)
    layout = "[height, width]" if ndim == 2 else "[frames, height, width]"
    for name, mask in (("prediction", prediction), ("target", target)):
        if mask.dtype != np.bool_:
            raise ValueError(f"the {name} must be boolean, got {mask.dtype}: threshold it first, as in `mask > 0`")
        if mask.ndim != ndim or mask.size == 0:
            raise ValueError(f"the {name} must be {layout} and not empty, got shape {mask.shape}")
    if prediction.shape != target.shape:
        raise ValueError(f"the prediction is {prediction.shape} but the target is {target.shape}: resize one of them")
    return prediction, target


def _contour(mask: np.ndarray) -> np.ndarray:
    """One-pixel contour `[height, width]`: pixels that differ from their right, lower or lower-right neighbour."""
    contour = np.zeros_like(mask)
    contour[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
    contour[:-1] |= mask[:-1] ^ mask[1:]
    contour[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return contour


def _bounding_box(mask: np.ndarray) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _disk(radius: int) -> np.ndarray:
    """`[2 * radius + 1, 2 * radius + 1]` uint8, 1 where the Euclidean distance to the centre is at most `radius`."""
    offset = np.arange(-radius, radius + 1)
    return (offset[:, None] ** 2 + offset**2 <= radius**2).astype(np.uint8)


def _dilate(contour: np.ndarray, disk: np.ndarray) -> np.ndarray:
    return cv2.dilate(contour.astype(np.uint8), disk).astype(bool)
