"""The selector's part of an evaluation: it scores all frames of all expressions first, resumable, over many processes.

<output>/.glus_hf/selector/    settings and lines with scores, as [`manifest`] describes
<output>/key_frames.json       the key-frame file
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ...data.frames import open_frames
from ...inference.frame_selector import FrameSelector, key_frames_of
from ...predictions.key_frame_file import key_frame_name, key_frames_text
from ...predictions.prediction_tree import PRIVATE_FOLDER
from ..options import EvaluationOptions
from .distributed import Processes
from .expression_result import ExpressionFailure, ExpressionScores, by_key
from .fingerprint import model_digest
from .jobs import Group, Job
from .manifest import Manifest
from .resumable_run import own_share, prepare_run
from .run_files import write_result
from .segmenter import error_message, is_out_of_memory, raise_for_group


KEY_FRAMES_FILE = "key_frames.json"


def selector_settings(selector: FrameSelector | None) -> dict | None:
    """What scores depend on."""
    if selector is None:
        return None
    processor = json.dumps(selector.processor.to_dict(), sort_keys=True, default=str)
    return {
        "name": Path(selector.name).resolve().name,
        "digest": model_digest(selector.model),
        "dtype": str(selector.model.dtype),
        "processor": hashlib.sha256(processor.encode()).hexdigest()[:16],
    }


def score_all_frames(
    selector: FrameSelector,
    rows: Sequence[Mapping],
    jobs: Sequence[Job],
    output: Path,
    processes: Processes,
    options: EvaluationOptions,
    *,
    overwrite: bool = False,
    progress: bool = False,
) -> tuple[dict[tuple[str, str], list[float]], list[ExpressionFailure]]:
    """Scores `[num_frames]` by `(video_id, expression_id)`, and the failures, the same in all processes.

    Args:
        selector: what scores.
        rows: light rows, see [`light_rows`].
        jobs: one per row, without key frames.
        output: folder of the evaluation, which this process has locked.
        options: with `on_error="skip"` an expression that cannot be scored is a failure, which the next run tries
            again.

    Raises:
        UserError: an earlier run used another selector, or an expression cannot be scored; one line.
    """
    from transformers.utils import logging

    folder = output / PRIVATE_FOLDER / "selector"
    settings = {name: getattr(options, name) for name in ("texts_per_pass", "batch_size")}
    _, done = prepare_run(
        folder,
        {**selector_settings(selector), **settings},
        rows,
        jobs,
        processes,
        overwrite=overwrite,
        files_of=lambda row: [],  # the scores are in the line itself
        record_type=ExpressionScores,
    )
    lengths = {job.key: job.num_frames for job in jobs}
    done = {key: record for key, record in done.items() if len(record.scores) == lengths[key]}
    share = own_share(jobs, done, options.texts_per_pass, processes)
    total = sum(len(group.jobs) for group in share)
    hidden = not (progress and processes.is_main)
    failures: list[ExpressionFailure] = []
    with (
        Manifest(folder, processes.rank) as manifest,
        logging.tqdm(total=total, desc="choosing key frames", unit="expression", disable=hidden) as bar,
    ):
        for group in share:
            for record in _score_group(selector, group, rows, options):
                if record.key in done:
                    continue
                if isinstance(record, ExpressionFailure):
                    failures.append(record)
                    continue
                manifest.append(record)
                done[record.key] = record
            bar.update(len(group.jobs))
    gathered = by_key(processes.gather(list(done.values())))
    return {key: record.scores for key, record in gathered.items()}, processes.gather(failures)


def _score_group(
    selector: FrameSelector, group: Group, rows: Sequence[Mapping], options: EvaluationOptions
) -> list[ExpressionScores | ExpressionFailure]:
    of_group = [rows[job.index] for job in group.jobs]
    try:
        frames = open_frames(of_group[0]["frame_paths"], options.limits)
        scores = selector.score(frames, [row["expression"] for row in of_group], options.batch_size)
    except Exception as error:
        if options.on_error != "skip":
            raise_for_group(group, error, by="selector: ")
        if len(group.jobs) > 1 and not is_out_of_memory(error):
            # one bad expression must not take the others with it
            singles = [_score_group(selector, Group((job,)), rows, options) for job in group.jobs]
            return [record for single in singles for record in single]
        return [ExpressionFailure(*job.key, f"selector: {error_message(error)}") for job in group.jobs]
    return [
        ExpressionScores(*job.key, job.digest, of_expression.tolist())
        for job, of_expression in zip(group.jobs, scores, strict=True)
    ]


def starts_from(scores: Mapping[tuple[str, str], Sequence[float]]) -> dict[tuple[str, str], int]:
    """The best frame of each expression, as an index."""
    return {key: key_frames_of(np.asarray([values]))[0] for key, values in scores.items()}


def write_starts(output: Path, rows: Sequence[Mapping], starts: Mapping[tuple[str, str], int]) -> Path | None:
    """Write the key-frame file; None where the frames of a video are not named by numbers, which it cannot hold."""
    chosen = {}
    for row in rows:
        key = row["video_id"], row["expression_id"]
        if key in starts:
            frame = row["frames"][starts[key]]
            if not (frame.isascii() and frame.isdigit()):
                return None
            chosen[key_frame_name(*key)] = frame
    write_result(output / KEY_FRAMES_FILE, key_frames_text(chosen))
    return output / KEY_FRAMES_FILE


__all__ = ["KEY_FRAMES_FILE", "score_all_frames", "selector_settings", "starts_from", "write_starts"]
