"""The selector's part of an evaluation: it scores all frames of all expressions first, resumable, over many processes.

<output>/.glus_hf/selector/    settings and lines with scores, as [`manifest`] describes
<output>/key_frames.json       upstream's file of key frames
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..data.frames import read_frames
from ..data.key_frames import key_frame_name, write_key_frames
from ..data.predictions import PRIVATE_FOLDER
from ..pipelines.frame_selector import FrameSelector, key_frames_of
from .manifest import Manifest, by_ids
from .model_digest import model_digest
from .processes import Processes
from .run_folder import own_share, prepare_run
from .segment_groups import error_message, is_explained, is_out_of_memory
from .work_plan import Group, Job


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
    *,
    texts_per_pass: int = 8,
    batch_size: int | None = 8,
    overwrite: bool = False,
    on_error: str = "raise",
    progress: bool = False,
) -> tuple[dict[tuple[str, str], list[float]], list[dict]]:
    """Scores `[num_frames]` by `(video_id, expression_id)`, and the failures, the same in all processes.

    Args:
        selector: what scores.
        rows: light rows, see [`light_rows`].
        jobs: one per row, without key frames.
        output: folder of the evaluation, which this process has locked.
        on_error: "raise", or "skip" to report an expression that cannot be scored as a failure, as
            [`Segmenter.run`] does; the next run tries it again.

    Raises:
        ValueError: an earlier run used another selector, or an expression cannot be scored; one line.
    """
    from transformers.utils import logging

    folder = output / PRIVATE_FOLDER / "selector"
    settings = {**selector_settings(selector), "texts_per_pass": texts_per_pass, "batch_size": batch_size}
    _, done = prepare_run(
        folder, settings, rows, jobs, processes, overwrite=overwrite, is_complete=lambda folder, row: True
    )
    share = own_share(jobs, done, texts_per_pass, processes)
    total = sum(len(group.jobs) for group in share)
    hidden = not (progress and processes.is_main)
    failures: list[dict] = []
    with (
        Manifest(folder, processes.rank) as manifest,
        logging.tqdm(total=total, desc="choosing key frames", unit="expression", disable=hidden) as bar,
    ):
        for group in share:
            for facts in _score_group(selector, group, rows, batch_size, on_error):
                key = facts["video_id"], facts["expression_id"]
                if key in done:
                    continue
                if "error" in facts:
                    failures.append(facts)
                    continue
                manifest.append(facts)
                done[key] = facts
            bar.update(len(group.jobs))
    gathered = by_ids(processes.gather(list(done.values())))
    return {key: one["scores"] for key, one in gathered.items()}, processes.gather(failures)


def _score_group(
    selector: FrameSelector, group: Group, rows: Sequence[Mapping], batch_size: int | None, on_error: str
) -> list[dict]:
    """What is known of each expression then: its `scores`, or an `error`."""
    of_group = [rows[job.index] for job in group.jobs]
    try:
        frames = read_frames(of_group[0]["frame_paths"])
        scores = selector.score(frames, [row["expression"] for row in of_group], batch_size)
    except Exception as error:
        if on_error == "skip" and len(group.jobs) > 1 and not is_out_of_memory(error):
            # one bad expression must not take the others with it
            singles = [_score_group(selector, Group((job,)), rows, batch_size, on_error) for job in group.jobs]
            return [facts for single in singles for facts in single]
        message = f"selector: {error_message(error)}"
        if on_error == "skip":
            names = [{"video_id": job.video_id, "expression_id": job.expression_id} for job in group.jobs]
            return [{**name, "error": message} for name in names]
        if not is_explained(error):
            raise
        ids = ", ".join(job.expression_id for job in group.jobs)
        raise ValueError(f"video {group.jobs[0].video_id}, expressions {ids}: {message}") from error
    return [
        {"video_id": job.video_id, "expression_id": job.expression_id, "digest": job.digest, "scores": one.tolist()}
        for job, one in zip(group.jobs, scores, strict=True)
    ]


def starts_from(scores: Mapping[tuple[str, str], Sequence[float]]) -> dict[tuple[str, str], int]:
    """The best frame of each expression, as an index."""
    return {key: key_frames_of(np.asarray([values]))[0] for key, values in scores.items()}


def write_starts(output: Path, rows: Sequence[Mapping], starts: Mapping[tuple[str, str], int]) -> Path | None:
    """Write upstream's file; None where the frames of a video are not named by numbers, which it cannot hold."""
    chosen = {}
    for row in rows:
        key = row["video_id"], row["expression_id"]
        if key in starts:
            frame = row["frames"][starts[key]]
            if not (frame.isascii() and frame.isdigit()):
                return None
            chosen[key_frame_name(*key)] = frame
    write_key_frames(output / KEY_FRAMES_FILE, chosen)
    return output / KEY_FRAMES_FILE


__all__ = ["KEY_FRAMES_FILE", "score_all_frames", "selector_settings", "starts_from", "write_starts"]
