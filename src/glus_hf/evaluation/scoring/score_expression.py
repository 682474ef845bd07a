"""Score single expressions: J and F of every frame and what a protocol adds."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import MissingPrediction, UserError
from ...media.rle import decode_rle
from ...metrics.j_and_f import ScoredMask
from ...metrics.robustness import pixel_accuracy, robustness
from ...metrics.temporal_iou import temporal_iou
from ...predictions.prediction_tree import read_prediction_raw


if TYPE_CHECKING:
    from .protocols import Protocol

Reader = Callable[[Mapping, str], np.ndarray]


def prediction_reader(predictions: str | os.PathLike | Reader) -> Reader:
    """Something that reads the mask of one frame: `(row, frame) -> [height, width]`, bool or uint8.

    Args:
        predictions: a tree of predictions, or already such a function. It raises `MissingPrediction` for a frame that
            it does not have.

    Raises:
        ValueError: the folder does not exist.

    Example:
        >>> reader = prediction_reader(lambda row, frame: np.zeros((row["height"], row["width"]), dtype=bool))
    """
    if callable(predictions):
        return predictions
    if not Path(predictions).is_dir():
        raise UserError(f"{predictions}: there is no such folder of predictions")
    return functools.partial(read_prediction_raw, predictions)


def score_expression(row: Mapping, predictions: str | os.PathLike | Reader, protocol: Protocol) -> dict:
    """Score one expression.

    Args:
        row: of `load_referring_dataset`, with masks.
        predictions: a tree of predictions or a function `(row, frame) -> [height, width]`, bool or uint8.
        protocol: with `unit` "expression".

    Returns:
        A record that `json.dump` accepts: ids, text, type, number of frames; `J`, `F`, `J&F` and the protocol's extras
        as fractions in `[0, 1]`, not rounded; `missing_frames`. With the policy "skip", an incomplete expression has
        None for every score.

    Raises:
        MissingPrediction: the policy is "error" and a frame has no prediction.
        ValueError: a prediction has the wrong size or cannot be read, the row has no ground truth, or the protocol
            scores whole videos.

    Example:
        >>> from glus_hf.evaluation.scoring.protocols import PROTOCOLS
        >>> row = {"dataset": "own", "video_id": "v", "expression_id": "0", "expression": "the cat",
        ...        "expression_type": None, "frames": ["00000"], "height": 2, "width": 2, "masks": [None]}
        >>> score_expression(row, lambda row, frame: np.zeros((2, 2), dtype=bool), PROTOCOLS["own"])["J&F"]
        1.0
    """
    return score_expressions([row], predictions, protocol)[0]


def score_expressions(
    rows: Sequence[Mapping], predictions: str | os.PathLike | Reader, protocol: Protocol
) -> list[dict]:
    """Score expressions of one video that mean the same objects; each frame's target is prepared once for all.

    Args, errors and records as for [`score_expression`]; one record per row, in order.

    Example:
        >>> score_expressions(rows, "preds", PROTOCOLS["mevis"])  # doctest: +SKIP
    """
    if protocol.unit != "expression":
        raise UserError(f"protocol {protocol.name} scores whole videos; use score_predictions")
    reader, first = prediction_reader(predictions), rows[0]
    scores = [_ExpressionScores(row, reader, protocol) for row in rows]
    if any(row["masks"] != first["masks"] or row["frames"] != first["frames"] for row in rows):
        return [score_expression(row, reader, protocol) for row in rows]
    size = (first["height"], first["width"])
    for frame_idx in range(len(first["frames"])):
        if any(frame_idx in score.frames for score in scores):
            mask = _decode(first["masks"][frame_idx], size, f"{scores[0].name}, frame {first['frames'][frame_idx]}")
            target = ScoredMask(mask)
            for score in scores:
                score.add_frame(frame_idx, mask, target)
    return [score.record() for score in scores]


def _decode(rle: dict | None, size: tuple[int, int], name: str) -> np.ndarray:
    try:
        return decode_rle(rle, size)
    except ValueError as error:
        raise UserError(f"{name}: {error}") from None


class _ExpressionScores:
    """Collects the frames of one expression."""

    def __init__(self, row: Mapping, reader: Reader, protocol: Protocol):
        self.row, self.reader, self.protocol = row, reader, protocol
        self.name = f"video {row['video_id']}, expression {row['expression_id']}"
        if row["masks"] is None:
            raise UserError(f"{self.name}: this split has no masks; make a submission for its server")
        if not row["frames"]:
            raise UserError(f"{self.name}: the video has no frames; remove it from the dataset")
        every = range(len(row["frames"]))
        annotated = [frame_idx for frame_idx in every if row["masks"][frame_idx] is not None]
        self.frames = set(annotated if protocol.frames == "annotated" else every)
        if not self.frames:
            raise UserError(f"{self.name}: no frame is annotated; use a split with ground truth")
        self.missing = 0
        self.values: dict[str, list] = {name: [] for name in ("J", "F", "A", "R", "predicted", "present")}

    def add_frame(self, frame_idx: int, mask: np.ndarray, target: ScoredMask) -> None:
        if frame_idx not in self.frames:
            return
        try:
            raw = self._read(frame_idx, mask.shape)
        except MissingPrediction as error:
            self.missing += 1
            if self.protocol.missing == "error":
                raise MissingPrediction(
                    f"{error} ({self.name}; to score an incomplete tree set missing to zero or skip)"
                ) from None
            if self.protocol.missing != "empty":
                return
            raw = np.zeros(mask.shape, dtype=np.uint8)
        self._add_scores(frame_idx, raw, mask, target)

    def _read(self, frame_idx: int, shape: tuple[int, int]) -> np.ndarray:
        frame = self.row["frames"][frame_idx]
        raw = np.asarray(self.reader(self.row, frame))
        if raw.shape != shape or raw.dtype not in (np.bool_, np.uint8):
            raise UserError(f"{self.name}, frame {frame}: got {raw.dtype} {raw.shape}, not bool or uint8 {shape}")
        return raw

    def _add_scores(self, frame_idx: int, raw: np.ndarray, mask: np.ndarray, target: ScoredMask) -> None:
        prediction = raw > 0
        scored = ScoredMask(prediction)
        j, f = scored.j_and_f(target)
        new = {"J": j, "F": f, "predicted": scored.area > 0, "present": target.area > 0}
        if "robustness" in self.protocol.extras:
            arguments = (prediction, mask)
        elif "raw_robustness" in self.protocol.extras:
            # a boolean prediction has the bytes that we would write
            arguments = (raw * np.uint8(255) if raw.dtype == np.bool_ else raw, self._overlapping_target(frame_idx))
        else:
            arguments = None
        if arguments is not None:
            new["A"] = pixel_accuracy(*arguments)
            new["R"] = robustness(*arguments, self._foreground(frame_idx, mask.shape))
        for name, value in new.items():
            self.values[name].append(value)

    def _overlapping_target(self, frame_idx: int) -> np.ndarray:
        """Number of target objects at each pixel, uint8."""
        size = (self.row["height"], self.row["width"])
        tracks = self.row.get("object_masks") or [self.row["masks"]]
        return np.sum([decode_rle(track[frame_idx], size) for track in tracks], axis=0, dtype=np.uint8)

    def _foreground(self, frame_idx: int, size: tuple[int, int]) -> np.ndarray:
        if self.row.get("foreground") is None:
            raise UserError(f"{self.name}: R needs the foreground masks of ReVOS, which this dataset does not have")
        return decode_rle(self.row["foreground"][frame_idx], size)

    def record(self) -> dict:
        row, num_frames = self.row, len(self.frames)
        record = {name: row[name] for name in ("video_id", "expression_id", "expression", "expression_type")}
        incomplete = self.missing and (self.protocol.missing != "empty" or self.missing == num_frames)
        if not incomplete:
            scores = self._scores()
        else:
            scores = dict.fromkeys(self._score_names(), None if self.protocol.missing == "skip" else 0.0)
        if "no_target" in self.protocol.extras:
            has_target = any(rle is not None for rle in row["masks"])
            # an incomplete expression has given no right answer
            answered = (not has_target) if incomplete else any(self.values["predicted"])
            scores |= {"has_target": has_target, "answered": answered}
        return record | {"num_frames": num_frames} | scores | {"missing_frames": self.missing}

    def _score_names(self) -> list[str]:
        names = ["J", "F", "J&F"]
        names += ["A", "R"] if any("robustness" in extra for extra in self.protocol.extras) else []
        return names + (["tIoU", "vIoU"] if "temporal" in self.protocol.extras else [])

    def _scores(self) -> dict[str, float]:
        means = {name: float(np.mean(self.values[name])) for name in self._score_names() if self.values.get(name)}
        means["J&F"] = (means["J"] + means["F"]) / 2
        if "temporal" in self.protocol.extras:
            means |= temporal_iou(self.values["predicted"], self.values["present"], self.values["J"])
        return {name: means[name] for name in self._score_names()}
