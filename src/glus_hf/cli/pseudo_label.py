"""`glus-hf pseudo-label`: what a key-frame selector learns from, and masks of unlabelled videos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError
from ..output_claim import OutputFolder, check_outputs, check_place, claim_outputs
from . import dataset_options
from .options import Device, Dtype, Json, Model, Overwrite, load_pipeline, model_folders
from .output import echo, print_json, set_progress


def pseudo_label(
    dataset: Annotated[str, typer.Option(help="mevis, refer_youtube_vos, motion_shapes, own, ...")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Gets DATASET/VIDEO/EXPRESSION.json; with --masks the folder clips.")
    ],
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the dataset; generated data needs none.")] = None,
    split: Annotated[str, typer.Option(help="The dataset's own name of the split.")] = "train",
    model: Model = "glus-tiny",
    masks: Annotated[
        bool, typer.Option("--masks", help="Write masks that pass the filter as a dataset of your own instead.")
    ] = False,
    min_score: Annotated[float, typer.Option(help="With --masks: least mean mask score, 0 to 1.")] = 0.7,
    min_agreement: Annotated[
        float, typer.Option(help="With --masks: least mean IoU of the forward and the backward run, 0 to 1.")
    ] = 0.7,
    half: Annotated[
        bool, typer.Option("--half", help="Label half of the videos, as the paper; --fraction 0.5.")
    ] = False,
    fraction: Annotated[float, typer.Option(help="Part of the videos to label.")] = 1.0,
    fraction_seed: Annotated[int, typer.Option(min=0, help="Samples the videos of --fraction.")] = 0,
    empty: Annotated[
        str, typer.Option(help="Label where nothing is to be found and nothing was: 1, 0 or skip.")
    ] = "1",
    max_videos: Annotated[int | None, typer.Option(min=1, help="Only the first N videos.")] = None,
    context_frames: Annotated[str | None, typer.Option(help="middle, uniform, or indices as 0,5,10,15.")] = None,
    threshold: Annotated[float, typer.Option(help="Mask logits above it are foreground.")] = 0.0,
    texts_per_pass: Annotated[int, typer.Option(min=1, help="Expressions of a video segmented together.")] = 8,
    batch_size: Annotated[int, typer.Option(min=0, help="Windows the language model reads at once; 0: as fits.")] = 8,
    device: Device = None,
    dtype: Dtype = "auto",
    seed: Annotated[int | None, typer.Option(min=0, help="Of generated data.")] = None,
    num_videos: Annotated[int | None, typer.Option(min=1, help="How many generated videos.")] = None,
    data_option: Annotated[
        list[str] | None, typer.Option(help="Another option of the dataset as NAME=VALUE (version=v2); repeatable.")
    ] = None,
    on_error: Annotated[str, typer.Option(help="raise, or skip: report expressions that fail and go on.")] = "raise",
    overwrite: Overwrite = False,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="When resuming, compare finished labels by hash, not size; redo what differs."),
    ] = False,
    timeout_minutes: Annotated[float, typer.Option(min=0.1, help="Wait this long for the slowest process.")] = 120,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No summary and no progress bars.")] = False,
) -> None:
    """Segment a training split and write the IoU of every frame; with --masks, masks of videos that have none.

    Run it again to resume.
    """
    from ..data.load_dataset import dataset_folder
    from ..evaluation.evaluator import EvaluationOptions
    from ..evaluation.runs.distributed import Processes
    from ..training.samples.pseudo_labels import make_pseudo_labels

    if masks:
        _check_mask_options(output, min_score, min_agreement, half or fraction != 1.0)
    if half and fraction != 1.0:
        raise UserError("--half is --fraction 0.5; give one of them")
    data_options = dataset_options.data_options(data_option, seed, num_videos)
    set_progress(quiet)
    dataset_options.set_dataset_progress(quiet)
    options = EvaluationOptions(
        texts_per_pass=texts_per_pass,
        threshold=threshold,
        batch_size=batch_size or None,
        context_frames=dataset_options.context_frames(context_frames),
        on_error=on_error,
    )
    processes = Processes(cpu=device == "cpu", timeout_minutes=timeout_minutes)
    read = [dataset_folder(dataset, data_dir, split, **data_options), *model_folders(model)]
    check_place(OutputFolder(output / dataset), read)
    rows = dataset_options.load_rows(dataset, data_dir, split, data_options, processes)
    rows = dataset_options.select_videos(rows, None, max_videos)
    pipe = load_pipeline(model, device if processes.size == 1 else str(processes.device), dtype)
    data_options.pop("num_videos", None)  # more videos may join a run
    common = {"split": split, "data_options": data_options, "model_name": model, "options": options}
    common |= {"overwrite": overwrite, "verify": verify, "processes": processes, "progress": not quiet}
    if masks:
        _label_masks(pipe, rows, output, (min_score, min_agreement), common, as_json, quiet)
        return
    report = make_pseudo_labels(
        pipe.model,
        pipe.processor,
        rows,
        output,
        empty=empty,
        fraction=0.5 if half else fraction,
        seed=fraction_seed,
        **common,
    )
    processes.close()
    if report is None:
        return
    for failure in report.failures:
        name = f"video {failure.video_id}, expression {failure.expression_id}"
        echo(f"Failed: {name}: {failure.error}", err=True)
    if as_json:
        print_json(report.to_dict())
    elif not quiet:
        mean = "none" if report.mean_label is None else f"{report.mean_label:.3f}"
        echo(f"{report.num_expressions} expressions, {report.num_labels} labels (mean {mean}) in {report.output}")
        if report.num_skipped:
            echo(f"{report.num_skipped} frames without target and prediction have no label")


def _check_mask_options(output: Path, min_score: float, min_agreement: float, takes_part: bool) -> None:
    from ..training.samples.pseudo_masks import CLIPS, check_filter

    if takes_part:
        raise UserError("--masks labels all videos; leave --half and --fraction out, --max-videos takes the first")
    check_filter(min_score, min_agreement)
    check_outputs(OutputFolder(output / CLIPS), overwrite=True)


def _label_masks(pipe, rows, output: Path, thresholds: tuple, common: dict, as_json: bool, quiet: bool) -> None:
    """`--masks`. The clips are made anew each time: with other thresholds nothing is segmented again."""
    from ..training.samples.pseudo_masks import CLIPS, segment_both_ways, write_pseudo_masks

    judged = segment_both_ways(pipe.model, pipe.processor, rows, output, **common)
    common["processes"].close()
    if judged is None:
        return
    clips = output / CLIPS
    with claim_outputs(OutputFolder(clips), overwrite=True) as (folder,):
        report = write_pseudo_masks(judged, folder, *thresholds)
        if report.clips is None:
            raise UserError(
                f"none of {report.num_expressions} expressions passes (mean score {report.mean_score}, mean agreement "
                f"{report.mean_agreement}); lower --min-score or --min-agreement"
            )
    if as_json:
        print_json(report.to_dict() | {"clips": str(clips)})
    elif not quiet:
        means = f"on average: agreement {report.mean_agreement:.2f}, score {report.mean_score:.2f}"
        echo(f"{report.num_kept} of {report.num_expressions} expressions in {clips} ({means})")


__all__ = ["pseudo_label"]
