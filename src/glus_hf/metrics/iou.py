"""gIoU and cIoU of referring image segmentation, with the conventions of LISA and of GRES for "no target".

Lai et al., "LISA: Reasoning Segmentation via Large Language Model", CVPR 2024; Liu et al., "GRES: Generalized
Referring Expression Segmentation", CVPR 2023.
"""

from collections.abc import Iterable

import numpy as np

from .no_target import n_acc_t_acc
from .overlap import overlap


IGNORED = 255
CONVENTIONS = ("lisa", "gres")


def giou_ciou(
    predictions: Iterable[np.ndarray], targets: Iterable[np.ndarray], convention: str = "lisa"
) -> dict[str, float | None]:
    """Mean of the per-mask IoU (gIoU) and IoU of all pixels together (cIoU).

    Args:
        predictions: `[height, width]` each, bool.
        targets: `[height, width]` each, bool; or uint8 with 0, 1 and 255 for pixels that do not count.
        convention: "lisa": gIoU takes `I / (U + 1e-5)` and 1 where both are empty; cIoU is `ΣI / (ΣU + 1e-10)`.
            "gres": exact ratios; a mask without target scores 1 when the prediction is empty too and 0 otherwise.
            Also gives N-acc and T-acc, see [`glus_hf.metrics.no_target`].

    Returns:
        `gIoU` and `cIoU` in `[0, 1]` (cIoU is None with "gres" where every union is empty); with "gres" also `N-acc`
        and `T-acc`.

    Raises:
        ValueError: there is no mask, the numbers or sizes of masks differ, or a mask has another type or value.

    Example:
        >>> masks = [np.array([[True, True]]), np.array([[False, False]])]
        >>> giou_ciou(masks, [np.array([[True, False]]), np.array([[False, False]])], convention="gres")["gIoU"]
        0.75
    """
    if convention not in CONVENTIONS:
        raise ValueError(f"convention {convention!r} is unknown; use {' or '.join(CONVENTIONS)}")
    pairs = zip(predictions, targets, strict=True)
    counts = np.array([_areas(index, *pair) for index, pair in enumerate(pairs)], dtype=np.int64)
    if not len(counts):
        raise ValueError("there is no mask to score")
    intersection, union, predicted, target = counts.T
    if convention == "lisa":
        per_mask = intersection / (union + 1e-5) + (union == 0)
        return {"gIoU": float(per_mask.mean()), "cIoU": float(intersection.sum() / (union.sum() + 1e-10))}
    per_mask = np.where(union == 0, 1.0, intersection / np.maximum(union, 1))
    total = union.sum()
    overall = {"gIoU": float(per_mask.mean()), "cIoU": float(intersection.sum() / total) if total else None}
    return overall | n_acc_t_acc(predicted > 0, target > 0)


def _areas(index: int, prediction: np.ndarray, target: np.ndarray) -> tuple[int, int, int, int]:
    """Pixels of the intersection, the union, the prediction and the target, without the ignored ones."""
    prediction, target = np.asarray(prediction), np.asarray(target)
    if prediction.dtype != np.bool_ or prediction.ndim != 2:
        raise ValueError(
            f"prediction {index} must be boolean [height, width], got {prediction.dtype} {prediction.shape}"
        )
    if prediction.shape != target.shape:
        raise ValueError(
            f"prediction {index} is {prediction.shape} but its target is {target.shape}: resize one of them"
        )
    if target.dtype == np.uint8:
        check_labels(index, target)
        prediction, target = prediction & (target != IGNORED), target == 1
    elif target.dtype != np.bool_:
        raise ValueError(f"target {index} must be boolean or uint8, got {target.dtype}")
    return *overlap(prediction, target), np.count_nonzero(prediction), np.count_nonzero(target)


def check_labels(index: int, target: np.ndarray) -> None:
    """Raise ValueError where a uint8 target has values other than 0, 1 and 255.

    Example:
        >>> check_labels(0, np.array([[0, 1, 255]], dtype=np.uint8))
    """
    if not np.isin(target, (0, 1, IGNORED)).all():
        raise ValueError(f"target {index} has values other than 0, 1 and {IGNORED} (ignored)")
