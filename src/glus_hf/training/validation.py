"""Validation on whole videos while training, by the evaluator that also makes the final numbers."""

from __future__ import annotations

import os
from collections.abc import Mapping

from transformers.utils import logging


logger = logging.get_logger(__name__)


class VideoValidation:
    """The `video_evaluator` of [`GLUSTrainer`]: segments videos as at inference and scores J&F.

    All processes share the work. J, F and J&F are percent here.

    Args:
        rows: from `load_referring_dataset`, with ground truth.
        folder: predictions of the last evaluation; written over at the next.
        split: name of the split, for the record.
        max_videos: the first so many videos only; all by default.
        protocol: how to score; by default the data set's own.
        options: fields of `EvaluationOptions`.

    Raises:
        ValueError: the rows have no ground truth, or there are none.

    Example:

        >>> validation = VideoValidation(rows, "runs/mine/validation", max_videos=50)  # doctest: +SKIP
        >>> validation(model, processor)["J&F"]  # doctest: +SKIP
        41.8
    """

    def __init__(
        self,
        rows,
        folder: str | os.PathLike,
        split: str = "",
        max_videos: int | None = None,
        protocol: str | None = None,
        **options,
    ):
        self.rows = first_videos(rows, max_videos)
        if len(self.rows) == 0 or self.rows[0]["masks"] is None:
            raise ValueError("validation needs rows with ground truth; choose another split")
        self.folder, self.split, self.protocol, self.options = folder, split, protocol, options

    def __call__(self, model, processor) -> dict[str, float] | None:
        """Scores by name, in the main process; None in the others."""
        from ..evaluation.evaluator import EvaluationOptions, evaluate_model

        report = evaluate_model(
            model,
            processor,
            self.rows,
            self.folder,
            split=self.split,
            protocol=self.protocol,
            options=EvaluationOptions(**self.options),
            overwrite=True,
        )
        return None if report is None else percent(report.totals)


def percent(totals: Mapping) -> dict[str, float]:
    """The three scores of an evaluation's totals, and J&F of every kind of expression.

    Example:

        >>> percent({"J": 0.5, "F": 0.6, "J&F": 0.55, "by_type": {"motion": {"J&F": 0.25}}})
        {'J': 50.0, 'F': 60.0, 'J&F': 55.0, 'J&F_motion': 25.0}
    """
    scale = 100.0 / totals.get("scale", 1.0)
    scores = {name: scale * totals[name] for name in ("J", "F", "J&F")}
    by_type = {f"J&F_{kind}": scale * scores["J&F"] for kind, scores in (totals.get("by_type") or {}).items()}
    return scores | by_type


def first_videos(rows, count: int | None):
    """Rows of the first `count` videos of a table; all of them for None."""
    if count is None:
        return rows
    names = list(zip(rows["dataset"], rows["video_id"], strict=True))
    chosen = set(list(dict.fromkeys(names))[:count])
    return rows.select([index for index, name in enumerate(names) if name in chosen])


__all__ = ["VideoValidation"]
