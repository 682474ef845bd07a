"""`glus-hf evaluate-objects`: what a model finds in the images of a dataset of objects, and its scores."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError
from ..model_families import DETECTION_TASK, PROMPT_TASK
from ..output_claim import OutputFolder, check_place
from . import dataset_options
from .evaluate_vos import SPLITS, follow_given
from .options import Device, Dtype, Json, Model, Overwrite, load_pipeline, model_folders
from .output import echo, print_json, print_table, set_progress


def evaluate_objects(
    dataset: Annotated[str, typer.Option(help="coco, lvis, objects365, refcoco, ytvis21, motion_shapes, ...")],
    task: Annotated[
        str,
        typer.Option(
            help="Of images: detection (boxes), instance (boxes and masks), referring or interactive; of videos: vis "
            "(average precision of tracks), tracking (HOTA) or vos (from given masks)."
        ),
    ],
    split: Annotated[str, typer.Option(help="The dataset's own name of the split.")] = "val",
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the dataset; generated data needs none.")] = None,
    model: Model = "glee-tiny",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder. Default: outputs/objects-DATASET-SPLIT-TASK-MODEL.")
    ] = None,
    names: Annotated[str | None, typer.Option(help="Look for these names, with commas, in place of all.")] = None,
    protocol: Annotated[
        str | None, typer.Option(help="Rules of the average precision: coco, or lvis; by default as the dataset is.")
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(min=1, help="Most objects. Default: 100; 300 by the rules of LVIS; vis 30, tracking 50."),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Of vis and tracking: least score. Default: 0 and 0.2.")
    ] = None,
    score_source: Annotated[
        str | None,
        typer.Option(
            help="Of interactive: the answer has the best confidence, which is the default, or text (of the name "
            "object)."
        ),
    ] = None,
    max_images: Annotated[int | None, typer.Option(min=1, help="Only the first N images, or videos.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of generated data and of subsets.")] = None,
    num_videos: Annotated[int | None, typer.Option(min=1, help="How many generated videos.")] = None,
    data_option: Annotated[
        list[str] | None, typer.Option(help="Another option of the dataset as NAME=VALUE (task=ins_seg); repeatable.")
    ] = None,
    device: Device = None,
    dtype: Dtype = "auto",
    overwrite: Overwrite = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="When resuming, compare finished files by hash, not size.")
    ] = False,
    timeout_minutes: Annotated[float, typer.Option(min=0.1, help="Wait this long for the slowest process.")] = 120,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No table and no progress bars.")] = False,
) -> None:
    """Look for the objects of every image or video of a dataset, and score what is found. Run it again to resume.

    For example: glus-hf evaluate-objects --dataset coco --data-dir data/coco --task instance
    """
    asked = {"names": names, "protocol": protocol, "top-k": top_k, "threshold": threshold}
    asked |= {"score-source": score_source, "seed": seed, "num-videos": num_videos}
    _check_options(task, {**asked, "data-option": data_option or None})
    options = dataset_options.data_options(data_option, seed, num_videos)
    if task == "vos":
        if data_dir is None:
            raise UserError("--task vos needs --data-dir, the folder of the dataset; see glus-hf evaluate-vos")
        layout = dataset.replace("_", "-")
        split = SPLITS.get(layout, split) if split == "val" else split
        more = {"overwrite": overwrite, "verify": verify}
        follow_given(
            data_dir, layout, split, model, output, "first", max_images, device, dtype, more, as_json, quiet,
            timeout_minutes,
        )  # fmt: skip
        return
    from ..data.objects.load_objects import name_frequencies, object_builder
    from ..evaluation.objects import evaluate_objects as runs
    from ..evaluation.objects.answers import BY_NAME, ObjectFinder
    from ..evaluation.objects.coco_scores import LVIS_MOST
    from ..evaluation.objects.track_answers import TRACK_TASKS, TrackFinder, VideoRows
    from ..evaluation.objects.track_scores import check_track_eval
    from ..evaluation.runs.distributed import Processes

    if task == "tracking":
        check_track_eval()
    wanted = None if names is None else _listed(names)
    set_progress(quiet)
    dataset_options.set_dataset_progress(quiet)
    processes = Processes(cpu=device == "cpu", timeout_minutes=timeout_minutes)
    if device is not None and ":" in device and processes.size > 1:
        raise UserError(f"--device {device}: each of {processes.size} processes takes its own; leave the number out")
    output = output or _default_output(dataset, split, options, task, model)
    folder = object_builder(dataset, data_dir, split, **options).config.data_dir
    check_place(OutputFolder(output), [folder, *model_folders(model)])
    rows = dataset_options.load_object_rows(dataset, data_dir, split, options, processes)
    known = _names(dataset, data_dir, split, options, wanted) if task in (*BY_NAME, *TRACK_TASKS) else []
    if task in TRACK_TASKS:
        rows = VideoRows(rows, max_images)
    elif max_images is not None:
        rows = rows.select(range(min(max_images, len(rows))))
    run = runs.ObjectRun(
        dataset,
        split,
        {name: value for name, value in options.items() if name != "num_videos"},  # more videos may join a run
        protocol,
        name_frequencies(dataset, data_dir, split, **options) if task in BY_NAME else None,
        model,
        some_names=wanted is not None,
    )
    pipe = load_pipeline(
        model,
        device if processes.size == 1 else str(processes.device),
        dtype,
        task=PROMPT_TASK if task == "interactive" else DETECTION_TASK,
    )
    if task in TRACK_TASKS:
        finder = TrackFinder(pipe, task, known, top_k, threshold)
    else:
        top_k = top_k or (LVIS_MOST if run.rules == "lvis" else 100)
        finder = ObjectFinder(pipe, task, known, top_k, score_source or "confidence")
    summary = runs.evaluate_objects(
        finder, rows, output, run, overwrite=overwrite, verify=verify, processes=processes, progress=not quiet
    )
    processes.close()
    if summary is None:
        return
    if as_json:
        print_json({**summary, "output": str(output)})
    elif not quiet:
        _print_totals(summary)
        echo(f"Objects, results.jsonl and summary.json: {output}")


def _check_options(task: str, asked: dict) -> None:
    """Refuse a task that is unknown, and options that it has no use for."""
    from ..evaluation.objects.answers import BY_NAME, TASKS
    from ..evaluation.objects.track_answers import TRACK_TASKS

    named = (*BY_NAME, *TRACK_TASKS)
    users = {"names": named, "protocol": BY_NAME, "top-k": named, "threshold": TRACK_TASKS}
    users |= {"score-source": ("interactive",)}
    tasks = (*TASKS, *TRACK_TASKS)
    if task not in (*tasks, "vos"):
        raise UserError(f"--task {task:.80} is unknown; use {', '.join(tasks)} or vos")
    for name in (name for name, value in asked.items() if value is not None):
        if task == "vos":
            raise UserError(f"--task vos needs no --{name}; see glus-hf evaluate-vos")
        if task not in users.get(name, tasks):
            *others, last = users[name]
            of = f"tasks {', '.join(others)} and {last}" if others else f"task {last}"
            raise UserError(f"--{name} is of the {of}; leave it out")


def _listed(names: str) -> list[str]:
    """Names with commas, each once."""
    wanted = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    if not wanted:
        raise UserError("--names: there is no name in it; leave it out to look for all")
    return wanted


def _names(dataset: str, data_dir: Path | None, split: str, options: dict, wanted: list[str] | None) -> list[str]:
    """What to look for: all names of the dataset, or some of them."""
    from ..data.objects.load_objects import object_names
    from ..data.objects.object_schema import ANYTHING

    known = list(dict.fromkeys(object_names(dataset, data_dir, split, **options))) or [ANYTHING]
    unknown = [name for name in wanted or () if name not in known]
    if unknown:
        raise UserError(f"--names: {unknown[0]!r:.80} is no name of {dataset}; the first is {known[0]!r}")
    return wanted or known


def _default_output(dataset: str, split: str, options: dict, task: str, model: str) -> Path:
    parts = [f"{name}{value}" for name, value in sorted(options.items()) if name != "num_videos"]
    name = "-".join(["objects", dataset, split, *parts, task, Path(os.path.realpath(model)).name])
    return Path("outputs") / re.sub(r"[^\w.-]", "_", name)


def _print_totals(summary: dict) -> None:
    unit = "videos" if "num_videos" in summary else "images"
    totals, counts = summary["totals"], f"{summary[f'num_{unit}']} {unit}, {summary['num_found']} answers"
    if not totals:
        echo(f"{counts}; there is no ground truth to score against")
        return
    echo(counts)
    tables = totals if all(isinstance(each, dict) for each in totals.values()) else {summary["protocol"]: totals}
    header = list(next(iter(tables.values())))
    rows = [[name, *(_shown(key, values[key]) for key in header)] for name, values in tables.items()]
    print_table([summary["protocol"], *header], rows)


def _shown(key: str, value: float | None):
    """Counts as they are, scores in percent."""
    if value is None or key.startswith("num_"):
        return "" if value is None else value
    return f"{100 * value:.1f}"


__all__ = ["evaluate_objects"]
