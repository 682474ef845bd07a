"""Semi-supervised video object segmentation of a dataset: palette PNGs for its server, and J&F where the masks are
known.

A run goes by the rules of `glus-hf evaluate`: it resumes, it refuses a folder of other settings and files of others,
and a video is in place as a whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ..data.frames import open_frames
from ..data.vos_layouts import VosVideo
from ..errors import UserError
from ..inference.track_objects import object_ids, open_tracking, track_frames
from ..json_text import json_text
from ..media.decode_limits import DecodeLimits
from ..media.mask_png import read_mask_values
from ..models.video_prompts import VideoPrompt
from ..output_claim import OutputFolder, check_place, file_record
from ..predictions.id_png import number_by_ids, save_id_png
from ..predictions.prediction_tree import new_partial_folder
from .runs.distributed import Processes
from .runs.expression_result import ExpressionRecord
from .runs.fingerprint import model_digest
from .runs.jobs import Group, Job
from .runs.resumable_run import lock_output, prepare_run, run_jobs
from .runs.run_files import record_files, remove_replaced, write_result
from .scoring.score_vos import score_vos_video, vos_totals


@dataclass
class VosResult(ExpressionRecord):
    """A video whose objects were followed; `expression_id` is empty."""

    num_frames: int
    num_objects: int
    seconds: float


def video_folder(row: Mapping) -> str:
    """Folder of a video's masks inside the output.

    Example:
        >>> video_folder({"video_id": "bike-packing"})
        'Annotations/bike-packing'
    """
    return f"Annotations/{row['video_id']}"


def evaluate_vos(
    model,
    processor,
    videos: Sequence[VosVideo],
    output: str | os.PathLike,
    *,
    layout: str = "",
    split: str = "",
    reference: str = "first",
    model_name: str | None = None,
    batch_size: int | None = None,
    limits: DecodeLimits | None = None,
    overwrite: bool = False,
    verify: bool = False,
    seen: Mapping[tuple[str, str], bool] | None = None,
    processes: Processes | None = None,
    progress: bool = False,
) -> dict | None:
    """Follow the objects of all videos from the masks they are given with, forward; score what has more masks.

    Args:
        model, processor: of a family that follows prompts.
        videos: of `find_vos_videos`.
        output: folder: `Annotations/<video>/<frame>.png`, `results.jsonl` and `summary.json`.
        layout, split, model_name: for the settings, which a resumed run must have again.
        reference: "first", "previous" or "first+previous".
        batch_size: objects that are decoded at once.
        limits: what frames may ask for.
        overwrite: replace an earlier run.
        verify: when resuming, compare finished files by hash, not size.
        seen: by video and object, whether its category is one of training, see `seen_objects`; gives G.
        processes: those that share the work.
        progress: show a bar.

    Returns:
        The content of `summary.json` on the first process: settings, counts, and `totals` by convention, None without
        known masks. None on the others.

    Raises:
        UserError: no videos, a folder of another run, or a video that fails; one line. What was done stays done.

    Example:
        >>> videos = find_vos_videos("DAVIS", "davis", "val")  # doctest: +SKIP
        >>> evaluate_vos(model, processor, videos, "out")["totals"]["semi"]["J&F"]  # doctest: +SKIP
        0.614
    """
    if not videos:
        raise UserError("there are no videos to evaluate; check the split and the selection of videos")
    output, processes = Path(output), processes or Processes(cpu=model.device.type == "cpu")
    folders = dict.fromkeys(os.path.dirname(video.frame_paths[0]) for video in videos)
    processes.from_main(lambda: check_place(OutputFolder(output), folders))
    rows = [{"video_id": video.video_id, "expression_id": "", "frames": video.frames} for video in videos]
    jobs = [
        Job(index, video.video_id, "", _digest(video), len(video.frames), None) for index, video in enumerate(videos)
    ]
    settings = _settings(model, model_name, layout, split, reference)
    with lock_output(output, processes):
        shared, done = prepare_run(
            output,
            settings,
            rows,
            jobs,
            processes,
            overwrite=overwrite,
            path_of=video_folder,
            files_of=lambda row: [f"{video_folder(row)}/{frame}.png" for frame in row["frames"]],
            record_type=VosResult,
            verify=verify,
        )
        if not shared:
            raise UserError(f"{output}: the processes do not share it; name a folder that all of them see")
        follow = partial(follow_video, model, processor, output, reference, batch_size, limits, processes.rank)
        worker = _Worker(follow, videos, output)
        run_jobs(worker, jobs, done, processes, description="tracking", unit="video", progress=progress)
        if not processes.is_main:
            return None
        summary = _write_results(output, videos, settings, seen)
        remove_replaced(output)
        return summary


@dataclass(frozen=True)
class _Options:
    texts_per_pass: int = 1


@dataclass(frozen=True)
class _Worker:
    """Does the videos of one process."""

    follow: Callable[[Job, VosVideo], VosResult]
    videos: Sequence[VosVideo]
    output: Path
    options: _Options = _Options()

    def run(self, groups: Sequence[Group], done: Mapping, on_finished: Callable[[VosResult], None]) -> list:
        for job in (job for group in groups for job in group.jobs if job.key not in done):
            try:
                result = self.follow(job, self.videos[job.index])
            except UserError as error:
                raise UserError(f"video {job.video_id}: {error}") from None
            on_finished(result)
        return []


def follow_video(
    model, processor, output: Path, reference: str, batch_size, limits, rank: int, job: Job, video: VosVideo
) -> VosResult:
    """Write the ids of all frames of a video; its folder appears as a whole."""
    begin, starts = time.perf_counter(), video.starts()
    frames = open_frames(video.frame_paths, limits, video.size)
    prompts = [VideoPrompt(start, name, "mask", video.ids(start) == name) for name, start in starts.items()]
    session = open_tracking(model, processor, frames, prompts)
    ids, partial_folder, written = object_ids(session), new_partial_folder(output), {}
    empty = np.zeros(video.size, np.uint8)
    for stem in video.frames:  # those before the first object
        save_id_png(partial_folder / f"{stem}.png", empty)
    for frame in track_frames(model, processor, session, reference, backward=False, batch_size=batch_size):
        masks = {ids[index]: mask for index, mask in zip(frame.text_indices, frame.masks, strict=True)}
        save_id_png(partial_folder / f"{video.frames[frame.frame_idx]}.png", number_by_ids(masks))
    folder = video_folder({"video_id": video.video_id})
    for stem in video.frames:
        written[f"{folder}/{stem}.png"] = file_record(partial_folder / f"{stem}.png")
    record_files(output, rank, written)
    target = output / folder
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():  # ours, of a run that was killed before its line was written
        shutil.rmtree(target)
    os.rename(partial_folder, target)
    seconds = round(time.perf_counter() - begin, 3)
    return VosResult(video.video_id, "", job.digest, len(video.frames), len(starts), seconds)


def _digest(video: VosVideo) -> str:
    """Of what the masks of a video depend on: the names of its frames and the given masks."""
    content = hashlib.sha256(json.dumps([video.frames, video.size]).encode())
    for name, start in video.starts().items():
        content.update(f"{name} {start}".encode() + np.packbits(video.ids(start) == name).tobytes())
    return content.hexdigest()[:16]


def _settings(model, name: str | None, layout: str, split: str, reference: str) -> dict:
    name = name or str(getattr(model.config, "_name_or_path", "") or type(model).__name__)
    known = {"name": Path(name).resolve().name, "digest": model_digest(model), "dtype": str(model.dtype)}
    return {"task": "vos", "layout": layout, "split": split, "model": known, "reference": reference}


def _write_results(output: Path, videos: Sequence[VosVideo], settings: Mapping, seen: Mapping | None) -> dict:
    """`results.jsonl`, a line per object, and `summary.json`."""
    records = []
    for video in videos:
        folder = output / video_folder({"video_id": video.video_id})
        read = lambda frame_idx, folder=folder, video=video: read_mask_values(
            folder / f"{video.frames[frame_idx]}.png", video.size, f"video {video.video_id}"
        )
        records += score_vos_video(video, read)
    for record in records if seen else ():
        record["seen"] = seen.get((record["video_id"], record["object_id"]))
    totals = vos_totals(records) or None
    counts = {"num_videos": len(videos), "num_objects": len(records)}
    write_result(output / "results.jsonl", "".join(json_text(each, ensure_ascii=False) + "\n" for each in records))
    summary = {"settings": settings, **counts, "totals": totals}
    write_result(output / "summary.json", json_text(summary, indent=1, ensure_ascii=False) + "\n")
    return summary


__all__ = ["VosResult", "evaluate_vos", "video_folder"]
