"""Ref-DAVIS17's official way: the unsupervised DAVIS 2017 evaluation of masks fused per annotator.

Each object of a video has four expressions, by two annotators from the first frame and from the whole video. The k-th
expressions of all objects give one segmentation with ids; where masks overlap, the lowest object id wins. Its ids are
free: they are matched to the true ones so that the sum of J&F over the video is as large as possible. Void pixels do
not count. (Caelles et al., "The 2019 DAVIS Challenge on VOS: Unsupervised Multi-Object Segmentation"; the fusing
follows ReferFormer.)
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

from ...data.png_tracks import VOID
from ...errors import MissingPrediction, UserError
from ...media.mask_png import read_mask_values
from ...metrics.j_and_f import ScoredMask
from ...predictions.davis_annotators import rows_by_annotator
from .score_expression import Reader, prediction_reader


if TYPE_CHECKING:
    from .protocols import Protocol


def score_davis_video(
    rows: Sequence[Mapping], predictions: str | os.PathLike | Reader, protocol: Protocol
) -> list[dict]:
    """Score all expressions of one video.

    Args:
        rows: all rows of the video; `object_ids` has one object each, and every object has equally many expressions.
            The annotation PNGs are read from `Annotations/` beside the frames.
        predictions: a tree of predictions or a function `(row, frame) -> [height, width]`, bool or uint8.
        protocol: its `missing` is "error", "zero" or "empty"; the last two fuse a missing frame as an empty mask.

    Returns:
        One record per annotator and true object: that of the expression whose mask was matched to it, with
        `annotator`, `object_id`, `J`, `F`, `J&F` in `[0, 1]` and `missing_frames`.

    Raises:
        MissingPrediction: the policy is "error" and a frame has no prediction.
        ValueError: objects with different numbers of expressions, more than 20 objects, or a file that does not fit.

    Example:
        >>> score_davis_video(rows, "preds", PROTOCOLS["ref_davis17_official"])  # doctest: +SKIP
    """
    annotators, reader = rows_by_annotator(rows), prediction_reader(predictions)
    missing = {row["expression_id"]: 0 for row in rows}
    highest = [0] * len(annotators)  # number of the last proposal that has a pixel
    frame_scores = []  # [frames][annotators] of [proposals, objects, 2]
    num_objects = None
    folder, size = _annotation_folder(rows[0]), (rows[0]["height"], rows[0]["width"])
    for frame in rows[0]["frames"]:
        ids = read_mask_values(str(folder / f"{frame}.png"), size, f"video {rows[0]['video_id']}")
        valid = ids != VOID
        if num_objects is None:  # as in the official code, objects are those up to the highest id of the first frame
            num_objects = int(np.max(ids, where=valid, initial=0))
        targets = [ScoredMask(ids == number) for number in range(1, num_objects + 1)]
        fused = [_fuse(listed, frame, reader, protocol, missing) for listed in annotators]
        highest = [max(number, _last_proposal(masks)) for number, masks in zip(highest, fused, strict=True)]
        frame_scores.append([_all_pairs(masks & valid, targets) for masks in fused])
    # frames last and in one piece: NumPy then adds them up in the order of the official code
    scores = np.ascontiguousarray(np.moveaxis(frame_scores, 0, -1)).mean(axis=-1)
    records = []
    for annotator, listed in enumerate(annotators):
        num_proposals = max(highest[annotator], num_objects)
        records += _records(listed, scores[annotator, :num_proposals], missing, annotator + 1)
    return records


def _annotation_folder(row: Mapping) -> Path:
    """`Annotations/<video>` beside `JPEGImages/` or `JPEGImages.tar`: rows have no void pixels."""
    first = str(row["frame_paths"][0])
    if first.startswith("tar://"):
        return Path(first.rpartition("::")[2]).parent / "Annotations" / row["video_id"]
    parts = PurePosixPath(first).parts
    if "JPEGImages" not in parts or "://" in first:
        raise UserError(f"{first}: this protocol reads Annotations/ beside JPEGImages/; unpack the dataset")
    root = Path(*parts[: len(parts) - 1 - parts[::-1].index("JPEGImages")])
    return root / "Annotations" / row["video_id"]


def _fuse(rows: list[Mapping], frame: str, reader: Reader, protocol: Protocol, missing: dict[str, int]) -> np.ndarray:
    """Masks `[objects, height, width]`, bool, without overlap."""
    size = (rows[0]["height"], rows[0]["width"])
    masks = np.zeros((len(rows), *size), dtype=bool)
    free = np.ones(size, dtype=bool)
    for mask, row in zip(masks, rows, strict=True):
        try:
            mask[:] = (reader(row, frame) > 0) & free
        except MissingPrediction as error:
            if protocol.missing == "error":
                name = f"video {row['video_id']}, expression {row['expression_id']}"
                raise MissingPrediction(f"{error} ({name}; to score an incomplete tree set missing to zero)") from None
            missing[row["expression_id"]] += 1
        free &= ~mask
    return masks


def _last_proposal(masks: np.ndarray) -> int:
    """The highest id in a fused frame. Proposals above it in all frames cannot be matched to an absent object."""
    return int(np.max(np.flatnonzero(masks.any(axis=(1, 2))) + 1, initial=0))


def _all_pairs(masks: np.ndarray, targets: list[ScoredMask]) -> np.ndarray:
    """J and F of every mask with every target, `[masks, targets, 2]`; targets without a mask meet empty ones."""
    proposals = [ScoredMask(mask) for mask in masks]
    padding = len(targets) - len(proposals)
    proposals += [ScoredMask(np.zeros(masks.shape[1:], dtype=bool))] * padding
    pairs = [[proposal.j_and_f(target) for target in targets] for proposal in proposals]
    return np.array(pairs).reshape(len(proposals), len(targets), 2)


def _records(rows: list[Mapping], scores: np.ndarray, missing: dict[str, int], annotator: int) -> list[dict]:
    records = []
    nobody = dict.fromkeys(("expression_id", "expression", "expression_type")) | {"video_id": rows[0]["video_id"]}
    # as in the official code, whose choice among equally good assignments counts: they can differ in J and F
    pairs = linear_sum_assignment(scores.sum(axis=-1) / 2, maximize=True)
    for proposal, target in zip(*pairs, strict=True):
        row = rows[proposal] if proposal < len(rows) else nobody
        j, f = (float(score) for score in scores[proposal, target])
        record = {name: row[name] for name in ("video_id", "expression_id", "expression", "expression_type")}
        record |= {"num_frames": len(rows[0]["frames"]), "annotator": f"annotator {annotator}"}
        record |= {"object_id": str(target + 1), "J": j, "F": f, "J&F": (j + f) / 2}
        records.append(record | {"missing_frames": missing.get(row["expression_id"], 0)})
    return records
