"""Validation while training: losses of samples, and whole videos by the evaluator that makes the final numbers."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import UserError
from ..metrics.overlap import overlap
from ..models.recipe_losses import mask_bce_loss, mask_dice_loss
from ..rows import column, select_rows


class VideoValidation:
    """The `video_evaluator` of [`GLUSTrainer`]: segments videos as at inference and scores J&F.

    All processes share the work. J, F and J&F are percent here.

    Args:
        rows: from `load_referring_dataset`, with ground truth.
        folder: predictions of the last evaluation; written over at the next.
        split: name of the split, for the record.
        max_videos: the first so many videos only; all by default.
        protocol: how to score; by default the dataset's own.
        options: fields of `EvaluationOptions`.

    Raises:
        ValueError: the rows have no ground truth, or there are none, or the protocol is unknown.

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
        from ..evaluation.scoring.protocols import get_protocol

        if protocol is not None:
            get_protocol(protocol)
        self.rows = first_videos(rows, max_videos)
        if len(self.rows) == 0 or self.rows[0]["masks"] is None:
            raise UserError("validation needs rows with ground truth; choose another split")
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

        >>> percent({"J": 0.5, "F": 0.75, "J&F": 0.625, "by_type": {"motion": {"J&F": 0.25}}})
        {'J': 50.0, 'F': 75.0, 'J&F': 62.5, 'J&F_motion': 25.0}
    """
    scale = 100.0 / totals.get("scale", 1.0)
    scores = {name: scale * totals[name] for name in ("J", "F", "J&F")}
    by_type = {f"J&F_{kind}": scale * scores["J&F"] for kind, scores in (totals.get("by_type") or {}).items()}
    return scores | by_type


def first_videos(rows, count: int | None):
    """Rows of the first `count` videos of a table; all of them for None."""
    if count is None:
        return rows
    names = list(zip(column(rows, "dataset"), column(rows, "video_id"), strict=True))
    chosen = set(list(dict.fromkeys(names))[:count])
    return select_rows(rows, [index for index, name in enumerate(names) if name in chosen])


def video_sums(output, mask_labels: list[Tensor], tokens: list[Tensor]) -> Tensor:
    """What `sums_to_means` needs of each video of a batch: `[videos, 6]`.

    Args:
        output: of the model, without losses of masks.
        mask_labels: per video `[expressions, query frames, H, W]`.
        tokens: per video, supervised tokens of each conversation.
    """
    rows = []
    for logits, labels, count in zip(output.mask_logits, mask_labels, tokens, strict=True):
        logits = F.interpolate(logits.float(), labels.shape[-2:], mode="bilinear", align_corners=False)
        sums = [mask_bce_loss(logits, labels).sum(), mask_dice_loss(logits, labels).sum(), _ious(logits, labels)]
        number = torch.tensor(float(labels[..., 0, 0].numel()), device=logits.device)
        rows.append(torch.stack([*sums, number, output.ce_loss * count.sum(), count.sum().float()]))
    return torch.stack(rows)


def sums_to_means(sums) -> dict[str, float]:
    """Means over masks and tokens. `J_given_text`: region similarity, in percent, of masks decoded after the true
    answers, with the training templates; not what a model does on its own.

    Example:

        >>> sums_to_means([2.0, 1.0, 3.0, 4.0, 5.0, 10.0])
        {'ce_loss': 0.5, 'mask_bce_loss': 0.5, 'mask_dice_loss': 0.25, 'J_given_text': 75.0}
    """
    bce, dice, iou, masks, ce, tokens = (float(value) for value in sums)
    return {
        "ce_loss": ce / tokens,
        "mask_bce_loss": bce / masks,
        "mask_dice_loss": dice / masks,
        "J_given_text": 100 * iou / masks,
    }


def _ious(logits: Tensor, labels: Tensor) -> Tensor:
    """Sum of the intersections over unions of masks `[..., H, W]`; 1 where both are empty."""
    predicted, wanted = logits > 0, labels > 0
    intersection, union = overlap(predicted, wanted)
    return torch.where(union > 0, intersection / union.clamp(min=1), 1.0).sum()


__all__ = ["VideoValidation"]
