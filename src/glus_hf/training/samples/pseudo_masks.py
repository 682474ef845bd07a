"""A training set from unlabelled videos: a model's own masks, where it agrees with itself.

Every expression is segmented twice, from the first frame forward and from the last frame backward. The two runs share
frames and context but no memory, so where a mask was lost or changed its object they differ.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from ...data.frames import read_frame
from ...data.own.own_folder import new_own_folder
from ...errors import UserError
from ...evaluation.evaluator import evaluate_model
from ...evaluation.options import EvaluationOptions
from ...evaluation.runs.jobs import light_rows
from ...media.rle import encode_rle
from ...metrics.j_and_f import region_similarity
from ...predictions.key_frame_file import frame_number, key_frame_name
from ...predictions.prediction_tree import read_prediction


FORWARD, BACKWARD, CLIPS = "forward", "backward", "clips"


@dataclass(frozen=True)
class PseudoMaskReport:
    """What was kept.

    Attributes:
        clips: folder of own data with the kept expressions; None if there is none.
        num_expressions, num_kept: before and after the filter.
        mean_agreement, mean_score: over all expressions, in [0, 1].
        j_of_all, j_of_kept: true region similarity in percent, where the dataset has masks; they decide nothing.
    """

    clips: Path | None
    num_expressions: int
    num_kept: int
    mean_agreement: float
    mean_score: float
    j_of_all: float | None = None
    j_of_kept: float | None = None

    def to_dict(self) -> dict:
        """All of it, JSON-able."""
        return {**asdict(self), "clips": None if self.clips is None else str(self.clips)}


@dataclass(frozen=True)
class JudgedMasks:
    """An expression that was segmented in both directions.

    Attributes:
        row: of the dataset.
        masks: of the forward run, one `[height, width]` per frame, bool; none if the expression failed.
        score: mean mask score in [0, 1].
        agreement: mean IoU of both runs in [0, 1].
        j: true region similarity in [0, 1], where the dataset has masks.
    """

    row: Mapping
    masks: list[np.ndarray]
    score: float
    agreement: float
    j: float | None


def make_pseudo_masks(
    model,
    processor,
    rows: Sequence[Mapping],
    output: str | os.PathLike,
    clips: str | os.PathLike | None = None,
    *,
    min_score: float = 0.7,
    min_agreement: float = 0.7,
    copy: bool = False,
    options: EvaluationOptions | None = None,
    **settings,
) -> PseudoMaskReport | None:
    """Segment videos without masks and write those that pass as a dataset of your own.

    Args:
        model, processor: as of [`evaluate_model`].
        rows: of `load_referring_dataset`; masks are not needed and decide nothing. Names of frames are numbers.
        output: gets the two resumable runs, `forward` and `backward`.
        clips: folder to make, in the layout of docs/own-data.md; by default `output/clips`.
        min_score: an expression is kept if its mean mask score, in [0, 1], is at least this ...
        min_agreement: ... and the mean IoU of both runs, in [0, 1], at least this. Empty masks are never kept.
        copy: copy frames that are image files; otherwise they are linked. Others are written as PNG.
        options: how to segment; without key frames.
        settings: others of [`evaluate_model`]: `split`, `data_options`, `processes`, `overwrite`, `progress`, ...

    Returns:
        [`PseudoMaskReport`] on the first process, None on the others.

    Raises:
        UserError: a threshold outside [0, 1], key frames among the options, or as [`evaluate_model`].

    Example:
        >>> rows = load_referring_dataset("own", "unlabelled")  # doctest: +SKIP
        >>> make_pseudo_masks(model, processor, rows, "pseudo").num_kept  # doctest: +SKIP
        41
    """
    check_filter(min_score, min_agreement)
    judged = segment_both_ways(model, processor, rows, output, options, **settings)
    if judged is None:
        return None
    return write_pseudo_masks(judged, clips or Path(output) / CLIPS, min_score, min_agreement, copy)


def check_filter(min_score: float, min_agreement: float) -> None:
    """Refuse thresholds outside [0, 1]."""
    for name, value in (("min_score", min_score), ("min_agreement", min_agreement)):
        if not 0 <= value <= 1:
            raise UserError(f"{name} must be between 0 and 1, got {value}")


def segment_both_ways(
    model,
    processor,
    rows: Sequence[Mapping],
    output: str | os.PathLike,
    options: EvaluationOptions | None = None,
    **settings,
) -> list[JudgedMasks] | None:
    """The first half of [`make_pseudo_masks`]: both runs, and how far they agree. None but on the first process."""
    options, output = options or EvaluationOptions(), Path(output)
    if options.names_key_frames:
        raise UserError("pseudo-masks start from the first and the last frame; leave key frames out")
    last = {
        key_frame_name(row["video_id"], row["expression_id"]): frame_number(row["frames"][-1])
        for row in light_rows(rows)
    }
    forward = evaluate_model(model, processor, rows, output / FORWARD, options=options, **settings)
    options = replace(options, key_frames=last)
    backward = evaluate_model(model, processor, rows, output / BACKWARD, options=options, **settings)
    if forward is None or backward is None:
        return None
    return [_judge(output, row, record) for row, record in zip(rows, forward.records, strict=True)]


def write_pseudo_masks(
    judged: Sequence[JudgedMasks],
    clips: str | os.PathLike,
    min_score: float = 0.7,
    min_agreement: float = 0.7,
    copy: bool = False,
) -> PseudoMaskReport:
    """The second half of [`make_pseudo_masks`]: filter, and write what is kept. Without any, no folder is made."""
    kept = [
        entry
        for entry in judged
        if entry.score >= min_score and entry.agreement >= min_agreement and any(mask.any() for mask in entry.masks)
    ]
    folder = _write_clips(kept, Path(clips), copy) if kept else None
    agreement, score = (
        round(float(np.mean([getattr(entry, name) for entry in judged])), 4) for name in ("agreement", "score")
    )
    return PseudoMaskReport(folder, len(judged), len(kept), agreement, score, _mean_j(judged), _mean_j(kept))


def _judge(output: Path, row: Mapping, record: Mapping) -> JudgedMasks:
    if "mean_score" not in record:  # it failed
        return JudgedMasks(row, [], 0.0, 0.0, None)
    forward, backward = (
        [read_prediction(output / run, row, frame) for frame in row["frames"]] for run in (FORWARD, BACKWARD)
    )
    agreement = float(np.mean([region_similarity(*pair) for pair in zip(forward, backward, strict=True)]))
    return JudgedMasks(row, forward, record["mean_score"], agreement, record.get("J"))


def _write_clips(kept: Sequence[JudgedMasks], folder: Path, copy: bool) -> Path:
    videos = {}
    with new_own_folder(folder, copy) as own:
        for entry in kept:
            row, name = entry.row, entry.row["video_id"]
            if name not in videos:
                videos[name] = own.add_frames(row["frame_paths"], row["frames"], name, read_frame)
            track = [encode_rle(mask) if mask.any() else None for mask in entry.masks]
            own.add_expression(videos[name], row["expression"], [{"masks": track}])
    return folder


def _mean_j(judged: Sequence[JudgedMasks]) -> float | None:
    values = [entry.j for entry in judged if entry.j is not None]
    return round(100 * float(np.mean(values)), 2) if values else None


__all__ = [
    "JudgedMasks",
    "PseudoMaskReport",
    "check_filter",
    "make_pseudo_masks",
    "segment_both_ways",
    "write_pseudo_masks",
]
