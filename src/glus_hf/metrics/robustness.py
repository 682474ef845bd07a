"""A and R of the ReVOS benchmark: pixel accuracy, and robustness against answering with another object.

Yan et al., "VISA: Reasoning Video Object Segmentation via Large Language Models", ECCV 2024. The public evaluators of
VISA and GLUS compare a target of 0 and 1 with the bytes of the PNG as they are. With the usual 0 and 255 every false
pixel then counts 255 times and no foreground pixel is ever right; published tables have these numbers. Both ways are
here: on boolean masks the metric as it is meant, on bytes the numbers of those tables.
"""

import numpy as np


def pixel_accuracy(prediction: np.ndarray, target: np.ndarray) -> float:
    """A: share of the pixels where prediction and target are equal.

    Args:
        prediction: `[height, width]`, bool; or uint8, the bytes of a PNG, for the published numbers.
        target: `[height, width]`, bool; or uint8, the number of target objects at each pixel.

    Returns:
        A value in `[0, 1]`.

    Raises:
        ValueError: the shapes differ or the types are not the same one of bool and uint8.

    Example:
        >>> pixel_accuracy(np.array([[True, False]]), np.array([[True, True]]))
        0.5
        >>> pixel_accuracy(np.array([[255, 0]], np.uint8), np.array([[1, 0]], np.uint8))  # 255 is not 1
        0.5
    """
    _check(prediction, target)
    return float(np.mean(prediction == target))


def robustness(prediction: np.ndarray, target: np.ndarray, foreground: np.ndarray) -> float:
    """R: `max(0, 1 - falsely predicted pixels / foreground pixels)`.

    On uint8 the arithmetic wraps around at 256 as in the public evaluators: where two target objects overlap, the
    target is 2, and "not target" `1 - 2` is 255.

    Args:
        prediction: `[height, width]`, bool; or uint8, the bytes of a PNG, for the published numbers.
        target: `[height, width]`, bool; or uint8, the number of target objects at each pixel.
        foreground: `[height, width]`, bool: every annotated object of the frame.

    Returns:
        A value in `[0, 1]`.

    Raises:
        ValueError: the shapes differ or the types are not the same one of bool and uint8.

    Example:
        >>> prediction, target = np.array([[True, True, False]]), np.array([[True, False, False]])
        >>> round(robustness(prediction, target, foreground=np.array([[True, False, True]])), 3)
        0.5
    """
    _check(prediction, target)
    if foreground.shape != target.shape:
        raise ValueError(f"the foreground is {foreground.shape} but the target is {target.shape}")
    false = prediction & ~target if target.dtype == np.bool_ else (1 - target) * prediction
    return float(max(1 - false.sum() / (np.count_nonzero(foreground) + 1e-6), 0.0))


def _check(prediction: np.ndarray, target: np.ndarray) -> None:
    if prediction.shape != target.shape:
        raise ValueError(f"the prediction is {prediction.shape} but the target is {target.shape}: resize one of them")
    if prediction.dtype != target.dtype or target.dtype not in (np.bool_, np.uint8):
        raise ValueError(
            f"prediction and target must both be bool or both be uint8, got {prediction.dtype}, {target.dtype}"
        )
