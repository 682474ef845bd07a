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
