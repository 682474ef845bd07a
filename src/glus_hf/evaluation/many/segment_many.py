"""Segment the videos of a manifest: resumable, over many processes or on a Ray cluster, masks as Parquet."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from ...data.listed_video import VideoReader, relative_length
from ...data.video_list import LISTED
from ...errors import UserError
from ...predictions.prediction_tree import write_whole
from ..options import EvaluationOptions
from ..report import EvaluationReport, write_report
from ..runs.distributed import Processes
from ..runs.expression_result import ExpressionFailure
from ..runs.fingerprint import model_settings
from ..runs.jobs import Job
from ..runs.resumable_run import check_run_folder, lock_output, prepare_run, run_jobs
from ..runs.run_files import record_files, remove_replaced
from ..runs.segmenter import Clip, Segmenter
from .mask_files import MaskWriter, join_mask_files, mask_file


Store = Callable[[str, bytes], None]
"""Takes the relative path and the content of a file."""


@dataclass(frozen=True)
class ManyVideos:
    """What is to be segmented, and how.

    Attributes:
        rows: of [`read_video_list`]; of a Ray worker, those that it works on, by their index.
        options: how to segment; key frames are those of the rows.
        reader: opens the videos.
    """

    rows: Sequence[Mapping] | Mapping[int, Mapping]
    options: EvaluationOptions
    reader: VideoReader

    def segmenter(self, model, processor, output: Path, store: Store) -> Segmenter:
        """What segments them; its files go to `store`."""
        return Segmenter(
            model,
            processor,
            self.rows,
            output,
            self.options,
            open_writer=lambda _, job, clip: MaskWriter(self.rows[job.index], clip, store),
            open_clip=self._open,
            before_commit=MaskWriter.add_scores,
        )

    def _open(self, row: Mapping) -> Clip:
        video = self.reader.open(row["video"])
        return Clip(video.frames, video.frame_names, (video.height, video.width), video.fps)


class Engine(Protocol):
    """Who does the work."""

    def settings(self, name: str | None) -> dict:
        """What the settings of a run say of its model."""

    def run(
        self, videos: ManyVideos, jobs: Sequence[Job], done: dict, processes: Processes, output: Path, progress: bool
    ) -> tuple[dict, list[ExpressionFailure]]:
        """Segment what is not done; results by `(video_id, expression_id)` and failures, of all processes."""


@dataclass(frozen=True)
class LocalEngine:
    """This process, and those that were launched with it.

    Attributes:
        model, processor: as for [`evaluate_model`].
    """

    model: object
    processor: object

    def settings(self, name: str | None) -> dict:
        return model_settings(self.model, name, self.processor)

    def run(self, videos, jobs, done, processes, output, progress):
        segmenter = videos.segmenter(self.model, self.processor, output, file_store(output, processes.rank))
        return run_jobs(segmenter, jobs, done, processes, progress=progress)


def file_store(output: Path, rank: int = 0) -> Store:
    """Writes files below `output`, each recorded as the run's."""
    return partial(write_whole, output, record=partial(record_files, output, rank))


def segment_many(
    rows: Sequence[Mapping],
    output: str | os.PathLike,
    engine: Engine,
    *,
    options: EvaluationOptions | None = None,
    reader: VideoReader | None = None,
    model_name: str | None = None,
    table: str | os.PathLike | None = None,
    overwrite: bool = False,
    verify: bool = False,
    processes: Processes | None = None,
    progress: bool = False,
) -> EvaluationReport | None:
    """Segment every expression of a manifest. An interrupted call is resumed by the same call.

    `output` gets `masks/<video_id>/<expression_id>.parquet`, one row each; `results.jsonl`, `summary.json`, and the
    folder `.glus_hf` that makes the run resumable. More rows may join a run.

    Args:
        rows: of [`read_video_list`].
        output: folder.
        engine: [`LocalEngine`] or [`~glus_hf.evaluation.many.ray_engine.RayEngine`]. Both write the same bytes.
        options: how to segment, without key frames; with `on_error="skip"` a video that fails does not stop the
            others.
        reader: how videos are opened.
        model_name: for messages.
        table: also write all rows to this Parquet file, which is replaced.
        overwrite, verify, processes, progress: as for [`evaluate_model`].

    Returns:
        [`EvaluationReport`] on the first process, None on the others.

    Raises:
        UserError: `output` holds a run with other settings or is in use, or, with `on_error="raise"`, a video fails.

    Example:
        >>> rows = read_video_list("videos.jsonl")  # doctest: +SKIP
        >>> engine = LocalEngine(pipe.model, pipe.processor)  # doctest: +SKIP
        >>> segment_many(rows, "masks", engine).counts["failed"]  # doctest: +SKIP
        0
    """
    options, reader = options or EvaluationOptions(on_error="skip"), reader or VideoReader()
    if options.names_key_frames:
        raise UserError("key frames of many videos are in the manifest; leave them out of the options")
    processes, output = processes or Processes(cpu=True), Path(output)
    processes.from_main(lambda: check_run_folder(output, rows, mask_file, _inputs(rows)))
    jobs = plan_listed(rows)
    with lock_output(output, processes):
        settings = {"dataset": LISTED, "max_frames": reader.max_frames, **engine.settings(model_name)}
        settings |= options.settings()
        shared, done = prepare_run(
            output,
            settings,
            rows,
            jobs,
            processes,
            overwrite=overwrite,
            path_of=mask_file,
            files_of=lambda row: [mask_file(row)],
            verify=verify,
        )
        if table is not None and not shared:
            raise UserError(f"{output}: the processes do not share it, so there can be no table; leave --table out")
        videos = ManyVideos(rows, options, reader)
        results, failures = engine.run(videos, jobs, done, processes, output, progress)
        if not processes.is_main:
            return None
        report = write_report(output, rows, jobs, results, failures, settings, None)
        if table is not None:
            join_mask_files(output, [rows[job.index] for job in jobs if job.key in results], Path(table))
        remove_replaced(output)
        return report


def _inputs(rows: Sequence[Mapping]) -> list[str]:
    """What the output must not be in or around: folders of frames, and of the files in a folder one."""
    videos = {row["video"] for row in rows if "://" not in row["video"]}
    folders = {video for video in videos if os.path.isdir(video)}
    files = {os.path.dirname(video): video for video in sorted(videos - folders)}
    return [*sorted(folders), *files.values()]


def plan_listed(rows: Sequence[Mapping]) -> list[Job]:
    """One [`Job`] per row of a manifest. How long a video is, is known when it is read."""
    lengths = {video: relative_length(video) for video in {row["video"] for row in rows}}
    return [
        Job(
            index,
            row["video_id"],
            row["expression_id"],
            _digest(row),
            0,
            row["key_frame"],
            lengths[row["video"]],
        )
        for index, row in enumerate(rows)
    ]


def _digest(row: Mapping) -> str:
    """Of the file's name, not of where it is (a folder may be moved), nor of what signs an address."""
    path = row["video"].removeprefix("tar://").partition("::")[0].partition("?")[0]
    name = path.rstrip("/").rpartition("/")[2]
    content = [name, row["expression"], row["key_frame"]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


__all__ = ["Engine", "LocalEngine", "ManyVideos", "file_store", "plan_listed", "segment_many"]
