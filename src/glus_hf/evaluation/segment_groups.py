"""Segment groups of expressions and write their masks, frame by frame, into the tree of predictions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..data.frames import read_frames
from ..data.predictions import ExpressionWriter
from .work_plan import Group, Job


ON_ERROR = ("raise", "skip")


@dataclass(frozen=True)
class Segmenter:
    """A model, its processor and how they are to be used.

    Attributes:
        model: has `propagate_in_video_iterator`.
        processor: has `init_video_session` and `post_process_masks`.
        rows: from `load_referring_dataset`; masks are not needed.
        output: root of the tree of predictions.
        threshold: mask logits above it are foreground.
        batch_size: windows the language model reads at once; None lets the model choose.
        context_frames: strategy or indices for `init_video_session`; None is the processor's own.
        on_error: "raise", or "skip" to report a failed expression and go on.
        open_writer: from `output` and a job, what takes its masks (as [`ExpressionWriter`], which is the default).
        frame_scores: a key-frame selector's scores, `[num_frames]` by `(video_id, expression_id)`.
        no_target_threshold: with `frame_scores`: below this confidence all masks of an expression become empty.
    """

    model: object
    processor: object
    rows: Sequence[Mapping]
    output: Path
    threshold: float = 0.0
    batch_size: int | None = None
    context_frames: str | Sequence[int] | None = None
    on_error: str = "raise"
    open_writer: Callable[[Path, Job], ExpressionWriter] | None = None
    frame_scores: Mapping[tuple[str, str], Sequence[float]] = field(default_factory=dict)
    no_target_threshold: float | None = None

    def run(self, groups: Sequence[Group], done: Mapping, on_finished: Callable[[dict], None]) -> list[dict]:
        """Segment all groups.

        Args:
            groups: in an order that keeps groups of one video together; frames are decoded once per video.
            done: keys of expressions that need not be written; the model still reads them with their group.
            on_finished: gets the facts of each expression when its folder is in place.

        Returns:
            Failures, `{"video_id", "expression_id", "error"}`; empty with `on_error="raise"`.

        Raises:
            ValueError: a video cannot be read or segmented; one line that names video and expressions.
        """
        failures: list[dict] = []
        clip: tuple[str, list] | None = None
        for group in groups:
            video_id = group.jobs[0].video_id
            try:
                if clip is None or clip[0] != video_id:
                    clip = None  # lets go of the last video before the next one is decoded
                    clip = video_id, self._read_video(group.jobs[0])
            except Exception as error:
                failures += self._failed(group, error, done)
                continue
            failures += self._run_group(group, clip[1], done, on_finished)
        return failures

    def _run_group(self, group: Group, frames: list, done: Mapping, on_finished: Callable) -> list[dict]:
        try:
            for facts in self._segment(group, frames, done):
                on_finished(facts)
            return []
        except Exception as error:
            if self.on_error == "skip" and len(group.jobs) > 1 and not is_out_of_memory(error):
                # one bad expression must not take the others with it
                singles = [Group((job,)) for job in group.jobs if job.key not in done]
                return [
                    failure for single in singles for failure in self._run_group(single, frames, done, on_finished)
                ]
            return self._failed(group, error, done)

    def _failed(self, group: Group, error: Exception, done: Mapping) -> list[dict]:
        ids = ", ".join(job.expression_id for job in group.jobs)
        name = f"video {group.jobs[0].video_id}, expression{'s' * (len(group.jobs) > 1)} {ids}"
        message = error_message(error)
        if self.on_error == "skip":
            lost = [job for job in group.jobs if job.key not in done]
            return [{"video_id": job.video_id, "expression_id": job.expression_id, "error": message} for job in lost]
        if is_explained(error):
            raise ValueError(f"{name}: {message}") from error
        error.add_note(f"while segmenting {name}")
        raise error

    def _read_video(self, job: Job) -> list[np.ndarray]:
        row = self.rows[job.index]
        frames = read_frames(row["frame_paths"])
        for path, frame in zip(row["frame_paths"], frames, strict=True):
            if frame.shape[:2] != (row["height"], row["width"]):
                found, expected = f"{frame.shape[1]}x{frame.shape[0]}", f"{row['width']}x{row['height']}"
                raise ValueError(f"{path}: is {found}, but the data set says {expected}; load the data set again")
        return frames

    def _segment(self, group: Group, frames: list, done: Mapping) -> Iterator[dict]:
        """Facts of each expression of the group that was not done, when its folder is in place."""
        # the pipelines import much of transformers
        from ..pipelines.frame_masks import iterate_frame_masks, missing_seg_frames

        begin, rows = time.perf_counter(), [self.rows[job.index] for job in group.jobs]
        context = {} if self.context_frames is None else {"context_frames": self.context_frames}
        session = self.processor.init_video_session(frames, [row["expression"] for row in rows], **context)
        scores = np.zeros((len(rows), len(frames)), dtype=np.float64)
        with ExitStack() as stack:
            writers = {
                position: stack.enter_context(self._writer(job))
                for position, job in enumerate(group.jobs)
                if job.key not in done
            }
            starts = [job.key_frame or 0 for job in group.jobs]
            for frame in iterate_frame_masks(
                self.model, self.processor, session, starts, self.threshold, self.batch_size
            ):
                scores[frame.text_indices, frame.frame_index] = frame.scores
                for place, position in enumerate(frame.text_indices):
                    if position in writers:
                        writers[position].write(frame.frame_index, frame.masks[place])
            missing = missing_seg_frames(session, len(rows))
            seconds = (time.perf_counter() - begin) / len(rows)
            for position, writer in writers.items():
                job, row = group.jobs[position], rows[position]
                judged = self._judge(job, scores[position])
                if judged.get("no_target"):
                    scores[position] = 0
                    for index in range(len(frames)):
                        writer.write(index, np.zeros((row["height"], row["width"]), dtype=bool))
                writer.commit()
                yield _facts(job, row, scores[position], missing[position], seconds) | judged

    def _writer(self, job: Job) -> ExpressionWriter:
        if self.open_writer is not None:
            return self.open_writer(self.output, job)
        return ExpressionWriter(self.output, self.rows[job.index])

    def _judge(self, job: Job, mask_scores: np.ndarray) -> dict:
        """Whether the expression fits anything, where a selector has scored the frames."""
        if job.key not in self.frame_scores:
            return {}
        from ..pipelines.frame_selector import judge

        judged = judge(self.frame_scores[job.key], mask_scores, self.no_target_threshold)
        return {**judged, "confidence": round(judged["confidence"], 6)}


def _facts(job: Job, row: Mapping, scores: np.ndarray, missing: list[int], seconds: float) -> dict:
    return {
        "dataset": row["dataset"],
        "video_id": job.video_id,
        "expression_id": job.expression_id,
        "digest": job.digest,
        "num_frames": job.num_frames,
        "key_frame": row["frames"][job.key_frame or 0],
        "mean_score": round(float(scores.mean()), 6),
        "missing_seg_frames": [row["frames"][frame] for frame in missing],
        "seconds": round(seconds, 3),
    }


def is_out_of_memory(error: Exception) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError)


def is_explained(error: Exception) -> bool:
    """Whether its one line says what to do; others need their traceback."""
    return isinstance(error, (ValueError, OSError)) or is_out_of_memory(error)


def error_message(error: Exception) -> str:
    """One line."""
    if is_out_of_memory(error):
        return "not enough memory; use a smaller --texts-per-pass or --batch-size"
    return " ".join(str(error).split()) or type(error).__name__


__all__ = ["ON_ERROR", "Segmenter", "error_message", "is_explained", "is_out_of_memory"]
