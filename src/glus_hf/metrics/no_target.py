"""N-acc, T-acc and Final of MeViSv2, where some expressions describe nothing in the video.

Ding et al., "MeViS: A Multi-Modal Dataset for Referring Motion Expression Video Segmentation", TPAMI 2025. The code of
its server is not public; the definitions below give the published rows.
"""

from collections.abc import Sequence

import numpy as np


def n_acc_t_acc(answered: Sequence[bool], has_target: Sequence[bool]) -> dict[str, float | None]:
    """Accuracy of saying "nothing here", per expression.

    Args:
        answered: for each expression, whether any frame's predicted mask has a pixel.
        has_target: for each expression, whether it has a target.

    Returns:
        `N-acc`: share of the expressions without target that were answered with nothing. `T-acc`: share of the
        expressions with target that were not. In `[0, 1]`; None where there is no such expression.

    Raises:
        ValueError: the arguments have different lengths.

    Example:
        >>> n_acc_t_acc(answered=[True, False, False], has_target=[True, True, False])
        {'N-acc': 1.0, 'T-acc': 0.5}
    """
    if len(answered) != len(has_target):
        raise ValueError(f"there are {len(answered)} answers to {len(has_target)} expressions")
    pairs = list(zip(answered, has_target, strict=True))
    nothing = [not answer for answer, target in pairs if not target]
    something = [bool(answer) for answer, target in pairs if target]
    return {
        "N-acc": float(np.mean(nothing)) if nothing else None,
        "T-acc": float(np.mean(something)) if something else None,
    }


def final_score(j_and_f: float, n_acc: float | None, t_acc: float | None) -> float | None:
    """MeViSv2's ranking number, the mean of J&F, N-acc and T-acc; None where one of them does not exist.

    Example:
        >>> round(final_score(0.6, 0.5, 1.0), 6)
        0.7
    """
    return None if n_acc is None or t_acc is None else (j_and_f + n_acc + t_acc) / 3


def calibrate_threshold(
    confidences: Sequence[float], answered: Sequence[bool], has_target: Sequence[bool]
) -> dict[str, float | None]:
    """The threshold below which an expression fits nothing that is best for the mean of N-acc and T-acc.

    Args:
        confidences: of each expression, as `results.jsonl` of an evaluation with a selector has them.
        answered, has_target: as for [`n_acc_t_acc`], of an evaluation without a threshold.

    Returns:
        `threshold` (0: keep all; of equally good ones the lowest, halfway between two confidences), and `N-acc` and
        `T-acc` with it.

    Raises:
        ValueError: the arguments differ in length, or not both kinds of expression are there.

    Example:
        >>> calibrate_threshold([0.1, 0.8, 0.9], [True, True, True], [False, True, True])["threshold"]
        0.45
    """
    confidences = np.asarray(confidences, dtype=np.float64)
    answered, has_target = np.asarray(answered, dtype=bool), np.asarray(has_target, dtype=bool)
    if not len(confidences) == len(answered) == len(has_target):
        raise ValueError(f"there are {len(confidences)} confidences of {len(has_target)} expressions")
    if has_target.all() or not has_target.any():
        raise ValueError("calibration needs expressions with a target and expressions without")
    levels = np.unique(confidences)
    thresholds = [0.0, *((levels[1:] + levels[:-1]) / 2), levels[-1] + 1e-6]
    tried = [n_acc_t_acc(answered & (confidences >= threshold), has_target) for threshold in thresholds]
    best = max(range(len(tried)), key=lambda index: tried[index]["N-acc"] + tried[index]["T-acc"])  # the first
    return {"threshold": float(thresholds[best]), **tried[best]}
