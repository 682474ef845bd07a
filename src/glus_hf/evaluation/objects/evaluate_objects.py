"""Evaluate a model on a dataset of objects: resumable, over many processes, scored as the dataset's benchmark does.

A run goes by the rules of `glus-hf evaluate`: it resumes, refuses a folder of other settings and files of others.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ...bounded_json import decode_json
from ...data.objects.object_schema import ANYTHING
from ...errors import UserError
from ...json_text import json_text
from ...output_claim import OutputFolder, check_place
from ...predictions.prediction_tree import check_places_apart, expression_folder, write_whole
from ...safe_files import read_bytes
from ..runs.distributed import Processes
from ..runs.expression_result import ExpressionRecord
from ..runs.fingerprint import model_settings
from ..runs.jobs import Group, Job
from ..runs.resumable_run import lock_output, prepare_run, run_jobs
from ..runs.run_files import record_files, remove_replaced, write_result
from ..runs.segmenter import error_message, is_explained
from .answers import BY_NAME, ObjectFinder
from .coco_scores import ObjectTruth, score_coco, score_lvis
from .prompted_scores import compare_object, interactive_totals, referring_totals
from .track_answers import TRACK_TASKS, TrackFinder
from .track_scores import check_track_eval, score_hota, score_ytvis


PROTOCOLS = ("coco", "lvis")
FEDERATED = ("tao", "burst")  # videos in which not every name was looked for
OTHER_TASK = {"vis": "tracking"}  # where objects have no masks; else detection
SHAPES = {"detection": ("box",), "instance": ("box", "mask")}


@dataclass
class ImageResult(ExpressionRecord):
    """An image or a video that was looked at: `video_id` is its id, `expression_id` the task."""

    num_objects: int
    seconds: float


@dataclass(frozen=True)
class ObjectRun:
    """What a run is about.

    Attributes:
        dataset, split, data_options: for the settings.
        protocol: "coco" or "lvis"; by default as the dataset is.
        frequencies: of LVIS's names.
        model_name: for messages.
        some_names: only some names of the dataset are looked for; objects of others do not count.
    """

    dataset: str
    split: str
    data_options: Mapping | None = None
    protocol: str | None = None
    frequencies: Mapping[str, str] | None = None
    model_name: str | None = None
    some_names: bool = False

    def __post_init__(self):
        if self.protocol not in (None, *PROTOCOLS):
            raise UserError(f"the protocol {self.protocol!r:.80} is unknown; use {' or '.join(PROTOCOLS)}")

    @property
    def rules(self) -> str:
        """The protocol."""
        return self.protocol or ("lvis" if self.dataset == "lvis" else "coco")

    def settings(self, finder: ObjectFinder | TrackFinder) -> dict:
        """What the answers depend on."""
        known = {"dataset": self.dataset, "split": self.split, "data_options": dict(self.data_options or {})}
        return {**known, **finder.settings(), **model_settings(finder.pipe.model, self.model_name)}


def answer_file(row: Mapping) -> str:
    """Relative path of what was found in an image.

    Example:
        >>> answer_file({"video_id": "139", "expression_id": "instance"})
        'objects/139/instance.json'
    """
    return f"objects/{expression_folder({**row, 'dataset': ''})}.json"


def evaluate_objects(
    finder: ObjectFinder | TrackFinder,
    rows: Sequence[Mapping],
    output: str | os.PathLike,
    run: ObjectRun,
    *,
    overwrite: bool = False,
    verify: bool = False,
    processes: Processes | None = None,
    progress: bool = False,
) -> dict | None:
    """Look for the objects of all images, and score what is found where the ground truth is known.

    `output` gets `objects/<image_id>/<task>.json`, `results.jsonl` with a line for each image and `summary.json`. An
    interrupted call is resumed by the same call; more images may join a run.

    Args:
        finder: the model and the task.
        rows: of `load_object_dataset`; of a `TrackFinder` the `VideoRows` of them.
        output: folder.
        run: names of the dataset and rules of the scores.
        overwrite: replace an earlier run.
        verify: when resuming, compare finished files by hash, not size.
        processes: those that share the work.
        progress: show a bar.

    Returns:
        The content of `summary.json` on the first process: settings, counts, and `totals` from 0 to 1, None without
        ground truth. None on the others.

    Raises:
        UserError: no images, `output` holds a run with other settings or is in use, or an image fails; one line.

    Example:
        >>> rows = load_object_dataset("coco", "data/coco", "val")  # doctest: +SKIP
        >>> finder = ObjectFinder(pipe, "instance", object_names("coco", "data/coco", "val"))  # doctest: +SKIP
        >>> evaluate_objects(finder, rows, "out", ObjectRun("coco", "val"))["totals"]["mask"]["AP"]  # doctest: +SKIP
        0.484
    """
    processes, output = processes or Processes(cpu=finder.pipe.model.device.type == "cpu"), Path(output)
    unit = "video" if finder.task in TRACK_TASKS else "image"
    if not len(rows):
        raise UserError(f"there are no {unit}s to evaluate; check the split and the selection of {unit}s")
    if finder.task == "tracking":
        check_track_eval()
    _check_truth(finder.task, rows)
    jobs = [_job(finder, index, row) for index, row in enumerate(rows)]
    places = [{"video_id": job.video_id, "expression_id": job.expression_id} for job in jobs]
    processes.from_main(lambda: _check_output(output, rows, places))
    with lock_output(output, processes):
        settings = run.settings(finder)
        shared, done = prepare_run(
            output,
            settings,
            places,
            jobs,
            processes,
            overwrite=overwrite,
            path_of=answer_file,
            files_of=lambda row: [answer_file(row)],
            record_type=ImageResult,
            verify=verify,
        )
        if not shared:
            raise UserError(f"{output}: the processes do not share it; name a folder that all of them see")
        worker = _Worker(finder, rows, output, processes.rank)
        results, _ = run_jobs(worker, jobs, done, processes, description="evaluating", unit=unit, progress=progress)
        if not processes.is_main:
            return None
        summary = _write_results(finder, rows, output, run, settings, results)
        remove_replaced(output)
        return summary


def _check_truth(task: str, rows: Sequence[Mapping]) -> None:
    """Refuse before any work objects without what a task asks for, or is scored by."""
    needed = {"instance": "mask", "interactive": "mask", "vis": "masks", "referring": "descriptions"}.get(task)
    if needed is None:
        return
    has_objects = False
    for each in (each for row in rows for each in row["objects"] or ()):
        if any(each[needed] or ()):  # a mask, those by frame, or texts
            return
        has_objects = True
    if has_objects:
        what = "no expressions" if task == "referring" else "boxes alone"
        raise UserError(f"the objects of the dataset have {what}; use --task {OTHER_TASK.get(task, 'detection')}")


def _check_output(output: Path, rows: Sequence[Mapping], places: Sequence[Mapping]) -> None:
    check_places_apart(places, answer_file)
    folders = dict.fromkeys(os.path.dirname(row["image_path"]) for row in rows if "://" not in row["image_path"])
    check_place(OutputFolder(output), folders)


def _job(finder: ObjectFinder | TrackFinder, index: int, row: Mapping) -> Job:
    return Job(index, row["image_id"], finder.task, finder.digest(row), max(finder.num_questions(row), 1), None)


@dataclass(frozen=True)
class _Options:
    texts_per_pass: int = 1


@dataclass(frozen=True)
class _Worker:
    """Does the images of one process."""

    finder: ObjectFinder | TrackFinder
    rows: Sequence[Mapping]
    output: Path
    rank: int
    options: _Options = _Options()

    def run(self, groups: Sequence[Group], done: Mapping, on_finished: Callable[[ImageResult], None]) -> list:
        jobs = [job for group in groups for job in group.jobs if job.key not in done]
        for job in jobs:
            begin, row = time.perf_counter(), self.rows[job.index]
            try:
                found = self.finder.answer(row)
            except Exception as error:
                if not is_explained(error):
                    error.add_note(f"while looking at {job.video_id}")
                    raise
                unit = "video" if self.finder.task in TRACK_TASKS else "image"
                raise UserError(f"{unit} {job.video_id}: {error_message(error)}") from error
            name = answer_file({"video_id": job.video_id, "expression_id": job.expression_id})
            key = "video_id" if self.finder.task in TRACK_TASKS else "image_id"
            content = json_text({key: job.video_id, "objects": found}, ensure_ascii=False) + "\n"
            write_whole(self.output, name, content.encode(), partial(record_files, self.output, self.rank))
            seconds = round(time.perf_counter() - begin, 3)
            on_finished(ImageResult(*job.key, job.digest, len(found), seconds))
        return []


# --- scores ----------------------------------------------------------------------------------------------------------


def _write_results(finder, rows, output: Path, run: ObjectRun, settings: dict, results: Mapping) -> dict:
    has_truth = all(row["objects"] is not None for row in rows)
    read = partial(_answers, output, rows, finder.task)
    unit = "video_id" if finder.task in TRACK_TASKS else "image_id"
    protocol = {"vis": "ytvis", "tracking": "hota"}.get(finder.task, finder.task)
    if finder.task in (*BY_NAME, *TRACK_TASKS):
        protocol = run.rules if finder.task in BY_NAME else protocol
        score = _totals_by_name if finder.task in BY_NAME else _totals_of_tracks
        totals = score(finder, rows, read, run) if has_truth else None
        records = [{unit: row["image_id"]} for row in rows]
    else:
        records = [_compared(row, found, finder.task) for row, found in read()]
        compared = [each for record in records for each in record["objects"]]
        totals = referring_totals(compared) if finder.task == "referring" else interactive_totals(compared)
    for record in records:
        record["num_found"] = results[record[unit], finder.task].num_objects
    write_result(output / "results.jsonl", "".join(json_text(each, ensure_ascii=False) + "\n" for each in records))
    counts = {f"num_{unit[:-3]}s": len(records), "num_found": sum(record["num_found"] for record in records)}
    summary = {"settings": settings, "protocol": protocol, **counts, "totals": totals}
    write_result(output / "summary.json", json_text(summary, indent=1, ensure_ascii=False) + "\n")
    return summary


def _answers(output: Path, rows: Sequence[Mapping], task: str) -> Iterator[tuple[Mapping, list[dict]]]:
    for row in rows:
        path = output / answer_file({"video_id": row["image_id"], "expression_id": task})
        yield row, _read_answers(path)


def _read_answers(path: Path) -> list[dict]:
    data = read_bytes(path, "json")
    try:
        return decode_json(data)["objects"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: is damaged; remove it and start the command again") from None


def _totals_by_name(finder: ObjectFinder, rows, read: Callable, run: ObjectRun) -> dict:
    named = map(_with_names, rows)
    truth = ObjectTruth((_only(row, finder.names) for row in named) if run.some_names else named, finder.names)
    totals = {}
    for shape in SHAPES[finder.task]:
        found = truth.results(((row["image_id"], objects) for row, objects in read()), shape)
        if run.rules == "lvis":
            totals[shape] = score_lvis(truth, found, shape, run.frequencies)
        else:
            totals[shape] = score_coco(truth, found, shape)
    return totals


def _totals_of_tracks(finder: TrackFinder, rows, read: Callable, run: ObjectRun) -> dict:
    videos = []
    for row, found in read():
        named = _with_names(row)
        if run.some_names:
            named["objects"] = [each for each in named["objects"] if each["name"] in finder.names]
        videos.append((named, found))
    if finder.task == "vis":
        return score_ytvis(videos, finder.names)
    has_masks = any(mask for row, _ in videos for each in row["objects"] for mask in each["masks"])
    return score_hota(videos, finder.names, "mask" if has_masks else "box", run.dataset in FEDERATED)


def _with_names(row: Mapping) -> dict:
    """Objects that have no name are whatever they are."""
    objects = row["objects"]
    named = objects and [{**each, "name": each["name"] or ANYTHING} for each in objects]
    return {**row, "objects": named}


def _only(row: Mapping, names: Sequence[str]) -> dict:
    """What a row says of some names."""
    of_images = {key: [name for name in row[key] if name in names] for key in ("absent_names", "incomplete_names")}
    return {**row, **of_images, "objects": [each for each in row["objects"] if each["name"] in names]}


def _compared(row: Mapping, answers: Sequence[Mapping], task: str) -> dict:
    """One line of `results.jsonl`: every answer beside the object that was meant."""
    meant = {each["object_id"]: each for each in row["objects"] or ()}
    said = "expression" if task == "referring" else "prompt"
    objects = [
        {"object_id": each["object_id"], said: each[said], **compare_object(each, meant[each["object_id"]])}
        for each in answers
    ]
    return {"image_id": row["image_id"], "objects": objects}


__all__ = ["PROTOCOLS", "ImageResult", "ObjectRun", "answer_file", "evaluate_objects"]
