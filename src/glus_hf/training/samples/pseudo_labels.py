"""Pseudo-labels for the key-frame selector: how well a GLUS checkpoint segments each frame of a training split.

One JSON file per expression, `{output}/{dataset}/{video}/{expression}.json`: a list with one entry per frame of the
video, in order, the IoU with the union of the expression's objects. This is the layout the original code reads below
the name of the dataset. An entry is null where the frame has no label (`empty="skip"`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ...bounded_json import decode_json
from ...errors import UserError
from ...evaluation.options import EvaluationOptions
from ...evaluation.runs.distributed import Processes
from ...evaluation.runs.expression_result import ExpressionFailure, ExpressionResult
from ...evaluation.runs.fingerprint import model_settings
from ...evaluation.runs.jobs import Job, light_rows, plan_jobs
from ...evaluation.runs.resumable_run import check_run_folder, lock_output, prepare_run, run_jobs
from ...evaluation.runs.run_files import record_files, remove_replaced
from ...evaluation.runs.segmenter import Segmenter
from ...media.rle import decode_rle
from ...metrics.j_and_f import region_similarity
from ...output_claim import FileRecord
from ...predictions.prediction_tree import expression_folder, write_whole
from ...rows import all_have, column, filter_rows
from ...safe_files import read_bytes


EMPTY_POLICIES = {"1": 1.0, "0": 0.0, "skip": None}
"""Label of a frame in which nothing is to be found and nothing was found."""

SELECTION_STREAM = 6  # beside those of resumable_sampler.py


@dataclass(frozen=True)
class LabelReport:
    """What was labelled.

    Attributes:
        output: folder of the labels.
        num_expressions: labelled, of this call's selection.
        num_labels: frames with a label.
        num_skipped: frames without.
        mean_label: mean of the labels, in [0, 1]; None without any.
        failures: expressions without labels, and why.
    """

    output: Path
    num_expressions: int
    num_labels: int
    num_skipped: int
    mean_label: float | None
    failures: list[ExpressionFailure]

    def to_dict(self) -> dict:
        return {**asdict(self), "output": str(self.output)}


def make_pseudo_labels(
    model,
    processor,
    rows: Sequence[Mapping],
    output: str | os.PathLike,
    *,
    split: str = "",
    data_options: Mapping | None = None,
    model_name: str | None = None,
    empty: str = "1",
    fraction: float = 1.0,
    seed: int = 0,
    options: EvaluationOptions | None = None,
    overwrite: bool = False,
    verify: bool = False,
    processes: Processes | None = None,
    progress: bool = False,
) -> LabelReport | None:
    """Segment a split from the first frame on and write each frame's IoU with the truth.

    Resumable and over several processes like [`evaluate_model`]; the folder refuses other settings.

    Args:
        model, processor, split, data_options, model_name, overwrite, verify, processes, progress: as for
            [`evaluate_model`].
        rows: with masks, of one dataset; several datasets can share `output`.
        empty: label of a frame where neither truth nor prediction has a pixel. "1" as the original code: a frame
            without the target is then as good as one that is segmented perfectly. "0" calls it useless as a key frame,
            "skip" (null in the file) lets the selector learn nothing from it.
        fraction: part of the videos to label, sampled by `seed`. The videos of a smaller part belong to every larger
            one, so a folder can grow.
        options: how to segment; key frames and thresholds of a selector do not apply.

    Returns:
        [`LabelReport`] on the first process, None on the others.

    Raises:
        ValueError: no ground truth, other settings, an unknown policy or an impossible fraction; one line.

    Example:

        >>> rows = load_referring_dataset("mevis", "data/mevis", "train")  # doctest: +SKIP
        >>> make_pseudo_labels(model, processor, rows, "labels", split="train", fraction=0.5)  # doctest: +SKIP
    """
    options = options or EvaluationOptions()
    if empty not in EMPTY_POLICIES:
        raise UserError(f"empty must be one of {', '.join(EMPTY_POLICIES)}, got {empty!r}")
    rows = select_fraction(rows, fraction, seed)
    if not all_have(rows, "masks"):
        raise UserError("labels need a ground truth, but this split has none; use the training split")
    processes = processes or Processes(cpu=model.device.type == "cpu")
    light = light_rows(rows)
    jobs = plan_jobs(light)
    if not jobs:
        raise UserError("there are no expressions to label; check the split")
    dataset = light[0]["dataset"]
    folder = Path(output) / dataset  # one run and one manifest per dataset
    settings = {
        "dataset": dataset,
        "split": split,
        "data_options": dict(data_options or {}),
        **model_settings(model, model_name, processor),
        "empty": empty,
        "seed": seed,
        **{name: getattr(options, name) for name in ("texts_per_pass", "threshold", "batch_size", "context_frames")},
    }
    processes.from_main(lambda: check_run_folder(folder, light, _file_of))
    with lock_output(folder, processes):
        _, done = prepare_run(
            folder,
            settings,
            light,
            jobs,
            processes,
            overwrite=overwrite,
            path_of=_file_of,
            files_of=lambda row: [_file_of(row)],
            verify=verify,
        )
        segmenter = Segmenter(
            model,
            processor,
            light,
            folder,
            options,
            open_writer=lambda folder, job, clip: LabelWriter(folder, rows[job.index], EMPTY_POLICIES[empty]),
            record_files=partial(record_files, folder, processes.rank),
        )

        def add_score(result: ExpressionResult) -> float | None:
            labels = read_labels(Path(output), result.to_dict())
            known = [label for label in labels if label is not None]
            result.num_labels, result.sum_labels = len(known), sum(known)
            return float(np.mean(known)) if known else None

        results, failures = run_jobs(
            segmenter,
            jobs,
            done,
            processes,
            add_score=add_score,
            score_name="IoU",
            description="labelling",
            progress=progress,
        )
        if processes.is_main:
            remove_replaced(folder)
    return _report(folder, jobs, results, failures) if processes.is_main else None


class LabelWriter:
    """Takes the masks of one expression in any order of frames and writes their IoU at once, as [`ExpressionWriter`]
    does with PNGs."""

    def __init__(self, folder: str | os.PathLike, row: Mapping, empty: float | None):
        self.folder, self.path, self.row, self.empty = Path(folder), Path(folder) / _file_of(row), row, empty
        self.labels: dict[int, float | None] = {}

    def write(self, index: int, mask: np.ndarray) -> None:
        """Compare `mask` (bool `[height, width]`) with frame number `index`."""
        truth = decode_rle(self.row["masks"][index], (self.row["height"], self.row["width"]))
        self.labels[index] = frame_label(mask, truth, self.empty)

    def commit(self, record: Callable[[Mapping[str, FileRecord]], None] | None = None) -> None:
        """Write the file, recorded before as by [`ExpressionWriter.commit`]; ValueError where a frame is missing."""
        count = len(self.row["frames"])
        if sorted(self.labels) != list(range(count)):
            raise UserError(f"{self.path}: {count - len(self.labels)} of {count} frames have no mask")
        content = json.dumps([self.labels[index] for index in range(count)]).encode()
        write_whole(self.folder, _file_of(self.row), content, record)

    def __enter__(self) -> LabelWriter:
        return self

    def __exit__(self, *_) -> None:
        pass


def frame_label(mask: np.ndarray, truth: np.ndarray, empty: float | None) -> float | None:
    """IoU of two masks `[height, width]`; `empty` where both are.

    Example:

        >>> frame_label(np.array([[True, True]]), np.array([[True, False]]), 1.0)
        0.5
    """
    return region_similarity(mask, truth, empty)


def select_fraction(rows: Sequence[Mapping], fraction: float, seed: int = 0):
    """The rows of part of the videos (at least one), sampled by `seed`; a smaller part is within every larger one.

    Example:

        >>> rows = [{"video_id": video} for video in "aabbccdd"]
        >>> [row["video_id"] for row in select_fraction(rows, 0.5)]
        ['a', 'a', 'd', 'd']
    """
    if not 0 < fraction <= 1:
        raise UserError(f"fraction must be above 0 and at most 1, got {fraction}")
    if fraction == 1:
        return rows
    videos = sorted(set(column(rows, "video_id")))
    order = np.random.default_rng([SELECTION_STREAM, seed]).permutation(len(videos))
    chosen = {videos[index] for index in order[: max(1, round(fraction * len(videos)))]}
    return filter_rows(rows, "video_id", chosen.__contains__)


def label_file(folder: str | os.PathLike, row: Mapping) -> Path:
    """Where the labels of an expression are: below the name of its dataset, or, as in the joint folder of the
    original code, without it. The file need not exist."""
    joint = Path(folder) / _file_of(row)
    own = Path(folder) / row["dataset"] / _file_of(row)
    return joint if joint.is_file() and not own.is_file() else own


def read_labels(folder: str | os.PathLike, row: Mapping) -> list[float | None] | None:
    """The labels of an expression, one per frame, None for a frame without; None where there is no file.

    Args:
        folder: `output` of [`make_pseudo_labels`], or a folder of the original code.
        row: `dataset`, `video_id`, `expression_id`, and `frames` or `num_frames`.

    Raises:
        ValueError: the file is broken, holds something else than IoUs, or has another number of frames; one line.
    """
    path = label_file(folder, row)
    try:
        if not os.path.lexists(path):
            return None
        labels = decode_json(read_bytes(path, "json"))
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: labels cannot be read ({error}); label the split again") from None
    count = len(row["frames"]) if "frames" in row else row["num_frames"]
    if not isinstance(labels, list) or len(labels) != count:
        found = len(labels) if isinstance(labels, list) else f"a {type(labels).__name__}"
        raise UserError(f"{path}: holds {found} labels, the video has {count} frames; label the split again")
    for index, label in enumerate(labels):
        is_number = isinstance(label, (int, float)) and not isinstance(label, bool)
        if label is not None and not (is_number and 0 <= label <= 1):
            raise UserError(
                f"{path}: the label of frame number {index} is {label!r}, not an IoU from 0 to 1 or null; "
                "label the split again"
            )
    return labels


def _file_of(row: Mapping) -> str:
    """`<video>/<expression>.json`; refuses ids that leave the folder."""
    return expression_folder({**row, "dataset": ""}) + ".json"


def _report(folder: Path, jobs: Sequence[Job], results: Mapping, failures: list[ExpressionFailure]) -> LabelReport:
    found = [results[job.key] for job in jobs if job.key in results]
    labels = sum(result.num_labels for result in found)
    total = sum(result.sum_labels for result in found)
    frames = sum(result.num_frames for result in found)
    return LabelReport(folder, len(found), labels, frames - labels, total / labels if labels else None, failures)


__all__ = [
    "EMPTY_POLICIES",
    "LabelReport",
    "frame_label",
    "label_file",
    "make_pseudo_labels",
    "read_labels",
    "select_fraction",
]
