"""Segment groups of expressions and write their masks, frame by frame, into the tree of predictions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np

from ...data.frames import open_frames
from ...errors import UserError
from ...inference.frame_masks import add_missing, iterate_frame_masks
from ...inference.frame_selector import flag_no_target
from ...output_claim import FileRecord
from ...predictions.prediction_tree import ExpressionWriter
from ..options import EvaluationOptions
from .expression_result import ExpressionFailure, ExpressionResult
from .jobs import Group, Job


SCORE_DIGITS = 4  # of a mean score and a confidence: the next ones depend on the number of threads


@dataclass(frozen=True)
class Clip:
    """A video that is open.

    Attributes:
        frames: `[height, width, 3]` uint8 RGB, all there or read when they are asked for.
        names: of the frames.
        size: `(height, width)`.
        fps: frames per second, where the video tells.
    """

    frames: Sequence[np.ndarray]
    names: Sequence[str]
    size: tuple[int, int]
    fps: float | None = None


@dataclass(frozen=True)
class Segmenter:
    """A model, its processor and how they are to be used.

    Attributes:
        model: has `propagate_in_video_iterator`.
        processor: has `init_video_session` and `post_process_masks`.
        rows: from `load_referring_dataset`; masks are not needed. Or rows of a manifest, by index.
        output: root of the tree of predictions.
        options: how to segment.
        open_writer: from `output`, a job and its clip, what takes its masks (as [`ExpressionWriter`], which is the
            default).
        open_clip: from a row to its video; by default by the addresses of its frames.
        before_commit: gets a writer, the scores `[num_frames]` of its masks and the indices of the frames without an
            answer, when all masks are written.
        record_files: gets size and hash of every file of an expression, by relative path, before it is in place.
        frame_scores: a key-frame selector's scores, `[num_frames]` by `(video_id, expression_id)`.
    """

    model: object
    processor: object
    rows: Sequence[Mapping] | Mapping[int, Mapping]
    output: Path
    options: EvaluationOptions = EvaluationOptions()
    open_writer: Callable[[Path, Job, Clip], ExpressionWriter] | None = None
    open_clip: Callable[[Mapping], Clip] | None = None
    before_commit: Callable[[ExpressionWriter, np.ndarray, list[int]], None] | None = None
    record_files: Callable[[Mapping[str, FileRecord]], None] | None = None
    frame_scores: Mapping[tuple[str, str], Sequence[float]] = field(default_factory=dict)

    def run(
        self, groups: Sequence[Group], done: Mapping, on_finished: Callable[[ExpressionResult], None]
    ) -> list[ExpressionFailure]:
        """Segment all groups.

        Args:
            groups: in an order that keeps groups of one video together; frames are decoded once per video.
            done: keys of expressions that need not be written; the model still reads them with their group.
            on_finished: gets the result of each expression when its folder is in place.

        Returns:
            Failures; none with `on_error="raise"`.

        Raises:
            UserError: a video cannot be read or segmented; one line that names video and expressions.
        """
        failures: list[ExpressionFailure] = []
        clip: tuple[str, Clip] | None = None
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

    def _run_group(self, group: Group, clip: Clip, done: Mapping, on_finished: Callable) -> list[ExpressionFailure]:
        try:
            for result in self._segment(group, clip, done):
                on_finished(result)
            return []
        except Exception as error:
            if self.options.on_error == "skip" and len(group.jobs) > 1 and not is_out_of_memory(error):
                # one bad expression must not take the others with it
                singles = [Group((job,)) for job in group.jobs if job.key not in done]
                return [failure for single in singles for failure in self._run_group(single, clip, done, on_finished)]
            return self._failed(group, error, done)

    def _failed(self, group: Group, error: Exception, done: Mapping) -> list[ExpressionFailure]:
        if self.options.on_error == "skip":
            message = error_message(error)
            return [ExpressionFailure(*job.key, message) for job in group.jobs if job.key not in done]
        raise_for_group(group, error)

    def _read_video(self, job: Job) -> Clip:
        row = self.rows[job.index]
        if self.open_clip is not None:
            return self.open_clip(row)
        size = row["height"], row["width"]
        return Clip(open_frames(row["frame_paths"], self.options.limits, size), row["frames"], size)

    def _segment(self, group: Group, clip: Clip, done: Mapping) -> Iterator[ExpressionResult]:
        """The result of each expression of the group that was not done, when its folder is in place."""
        begin, rows, options = time.perf_counter(), [self.rows[job.index] for job in group.jobs], self.options
        starts = [_start(job, clip) for job in group.jobs]
        session = self.processor.init_video_session(
            clip.frames, [row["expression"] for row in rows], **options.context
        )
        scores = np.zeros((len(rows), len(clip.frames)), dtype=np.float64)
        missing: list[list[int]] = [[] for _ in rows]
        with ExitStack() as stack:
            writers = {
                position: stack.enter_context(self._writer(job, clip))
                for position, job in enumerate(group.jobs)
                if job.key not in done
            }
            settings = {"threshold": options.threshold, "batch_size": options.batch_size, **options.modes}
            for frame in iterate_frame_masks(self.model, self.processor, session, starts, **settings):
                scores[frame.text_indices, frame.frame_idx] = frame.scores
                add_missing(missing, frame)
                for position, mask in zip(frame.text_indices, frame.masks, strict=True):
                    if position in writers:
                        writers[position].write(frame.frame_idx, mask)
            seconds = (time.perf_counter() - begin) / len(rows)
            for position, writer in writers.items():
                job = group.jobs[position]
                flags = self._flag_no_target(job, scores[position])
                if flags.get("no_target"):
                    scores[position] = 0
                    for frame_idx in range(len(clip.frames)):
                        writer.write(frame_idx, np.zeros(clip.size, dtype=bool))
                if self.before_commit is not None:
                    self.before_commit(writer, scores[position], sorted(missing[position]))
                writer.commit(self.record_files)
                found = scores[position], sorted(missing[position])
                yield _result(job, rows[position]["dataset"], clip.names, *found, seconds, flags)

    def _writer(self, job: Job, clip: Clip) -> ExpressionWriter:
        if self.open_writer is not None:
            return self.open_writer(self.output, job, clip)
        return ExpressionWriter(self.output, self.rows[job.index])

    def _flag_no_target(self, job: Job, mask_scores: np.ndarray) -> dict:
        """Whether the expression fits anything, where a selector has scored the frames."""
        if job.key not in self.frame_scores:
            return {}
        flags = flag_no_target(self.frame_scores[job.key], mask_scores, self.options.no_target_threshold)
        return {**flags, "confidence": round(flags["confidence"], SCORE_DIGITS)}


def _start(job: Job, clip: Clip) -> int:
    """The frame to start from; of a dataset it was checked when the run was planned."""
    start = job.key_frame or 0
    if start >= len(clip.frames):
        raise UserError(f"there is no key frame {start}, the video has {len(clip.frames)} frames: correct it")
    return start


def _result(
    job: Job,
    dataset: str,
    names: Sequence[str],
    scores: np.ndarray,
    missing: list[int],
    seconds: float,
    flags: Mapping,
) -> ExpressionResult:
    return ExpressionResult(
        video_id=job.video_id,
        expression_id=job.expression_id,
        digest=job.digest,
        num_frames=len(names),
        key_frame=names[job.key_frame or 0],
        mean_score=round(float(scores.mean(dtype=np.float64)), SCORE_DIGITS),
        missing=[names[frame] for frame in missing],
        seconds=round(seconds, 3),
        dataset=dataset,
        **flags,
    )


def raise_for_group(group: Group, error: Exception, by: str = "") -> NoReturn:
    """Raise an error again that names the expressions it is about: in one line if it is explained."""
    ids = ", ".join(job.expression_id for job in group.jobs)
    name = f"video {group.jobs[0].video_id}, expression{'s' * (len(group.jobs) > 1)} {ids}"
    if is_explained(error):
        raise UserError(f"{name}: {by}{error_message(error)}") from error
    error.add_note(f"while segmenting {name}")
    raise error


def is_out_of_memory(error: Exception) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError)


def is_explained(error: Exception) -> bool:
    """Whether its one line says what to do; others need their traceback."""
    return isinstance(error, (UserError, OSError)) or is_out_of_memory(error)


def error_message(error: Exception) -> str:
    """One line."""
    if is_out_of_memory(error):
        return "not enough memory; use a smaller --texts-per-pass or --batch-size"
    return " ".join(str(error).split()) or type(error).__name__


__all__ = ["Clip", "Segmenter", "error_message", "is_explained", "is_out_of_memory", "raise_for_group"]
