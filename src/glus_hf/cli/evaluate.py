"""`glus-hf evaluate`: segment a dataset, score it, make its submission."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError
from ..inference.frame_masks import EXPRESSIONS_WITH_MISSING, MISSING_FRAMES
from ..output_claim import Output, OutputFile, OutputFolder, check_outputs, check_place, claim_outputs
from . import dataset_options
from .options import (
    Compat,
    Compile,
    DecodeLimit,
    Device,
    Dtype,
    FrameStride,
    Json,
    Model,
    NoTargetThreshold,
    Overwrite,
    Propagation,
    Sam2Model,
    Views,
    Window,
    decode_limits,
    load_pipeline,
    model_folders,
    set_memory_stride,
    set_propagation,
)
from .output import echo, print_json, set_progress


def evaluate(
    dataset: Annotated[str, typer.Option(help="mevis, refer_youtube_vos, revos, motion_shapes, own, ...")],
    split: Annotated[str, typer.Option(help="The dataset's own name of the split.")],
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the dataset; generated data needs none.")] = None,
    model: Model = "glus-tiny",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Tree of predictions. Default: outputs/DATASET-SPLIT-MODEL."),
    ] = None,
    overwrite: Overwrite = False,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="When resuming, compare finished masks by hash, not size; redo what differs."),
    ] = False,
    zip_file: Annotated[Path | None, typer.Option("--zip", help="Make the server's submission archive.")] = None,
    plots: Annotated[Path | None, typer.Option(help="Folder for plots of where it fails.")] = None,
    push_results: Annotated[
        str | None,
        typer.Option(help="OWNER/NAME on the Hub: add the scores to the card of that model.", metavar="REPO"),
    ] = None,
    protocol: Annotated[str | None, typer.Option(help="How to score; by default the dataset's own.")] = None,
    videos: Annotated[str | None, typer.Option(help="Only these video ids, separated by commas.")] = None,
    max_videos: Annotated[int | None, typer.Option(min=1, help="Only the first N videos.")] = None,
    key_frame: Annotated[int | None, typer.Option(min=0, help="Frame to start from, counted from 0.")] = None,
    key_frames: Annotated[Path | None, typer.Option(help='JSON {"VIDEO_EXPRESSION": frame name as a number}.')] = None,
    selector: Annotated[
        str | None, typer.Option(help="Bundled selector, folder or Hub name: start from the frame it likes best.")
    ] = None,
    no_target_threshold: NoTargetThreshold = None,
    context_frames: Annotated[str | None, typer.Option(help="middle, uniform, or indices as 0,5,10,15.")] = None,
    threshold: Annotated[float, typer.Option(help="Mask logits above it are foreground.")] = 0.0,
    memory_stride: Annotated[
        int | None, typer.Option(min=1, help="Stride of the older memories; by default the model's own (3).")
    ] = None,
    propagation: Propagation = "model",
    sam2_model: Sam2Model = None,
    texts_per_pass: Annotated[int, typer.Option(min=1, help="Expressions of a video segmented together.")] = 8,
    batch_size: Annotated[int, typer.Option(min=0, help="Windows the language model reads at once; 0: as fits.")] = 8,
    window: Window = "sliding",
    frame_stride: FrameStride = 1,
    views: Views = "auto",
    compile: Compile = False,
    decode_limit: DecodeLimit = None,
    device: Device = None,
    dtype: Dtype = "auto",
    compat: Compat = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of generated data.")] = None,
    num_videos: Annotated[int | None, typer.Option(min=1, help="How many generated videos.")] = None,
    data_option: Annotated[
        list[str] | None, typer.Option(help="Another option of the dataset as NAME=VALUE (version=v2); repeatable.")
    ] = None,
    on_error: Annotated[str, typer.Option(help="raise, or skip: report expressions that fail and go on.")] = "raise",
    num_workers: Annotated[int, typer.Option(min=0, help="Processes that score again, for another protocol.")] = 1,
    timeout_minutes: Annotated[float, typer.Option(min=0.1, help="Wait this long for the slowest process.")] = 120,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No table and no progress bars.")] = False,
) -> None:
    """Segment every expression of a dataset and score the masks. Run it again to resume."""
    from ..inference.frame_selector import load_selector, require_selector

    data_options = dataset_options.data_options(data_option, seed, num_videos)
    require_selector(selector, no_target_threshold)
    if zip_file is not None:
        _check_zip(zip_file, dataset)
    from ..data.load_dataset import dataset_folder
    from ..evaluation.evaluator import evaluate_model
    from ..evaluation.options import EvaluationOptions
    from ..evaluation.runs.distributed import Processes
    from ..evaluation.scoring.incremental_scores import choose_protocol
    from ..predictions.key_frame_file import read_key_frames

    set_progress(quiet)
    dataset_options.set_dataset_progress(quiet)
    options = EvaluationOptions(
        texts_per_pass=texts_per_pass,
        threshold=threshold,
        batch_size=batch_size or None,
        window=window,
        frame_stride=frame_stride,
        context_frames=dataset_options.context_frames(context_frames),
        key_frame=key_frame,
        key_frames=None if key_frames is None else read_key_frames(key_frames),
        no_target_threshold=no_target_threshold,
        on_error=on_error,
        limits=decode_limits(decode_limit),
    )
    processes = Processes(cpu=device == "cpu", timeout_minutes=timeout_minutes)
    if device is not None and ":" in device and processes.size > 1:
        raise UserError(f"--device {device}: each of {processes.size} processes takes its own; leave the number out")
    carried = None if propagation == "model" else propagation
    output = output or _default_output(dataset, split, data_options, model, selector, carried)
    read = [
        dataset_folder(dataset, data_dir, split, **data_options),
        key_frames,
        *model_folders(model, selector, sam2_model),
    ]
    derived = _derived(zip_file, plots)
    check_place(OutputFolder(output), read)
    check_outputs(*derived, inputs=read, overwrite=True)
    rows = dataset_options.load_rows(dataset, data_dir, split, data_options, processes)
    selected = dataset_options.select_videos(rows, videos, max_videos)
    for option in [name for name, value in (("plots", plots), ("push-results", push_results)) if value is not None]:
        if choose_protocol(selected, protocol) is None:
            raise UserError(f"--{option}: there is no ground truth to score against; leave it out")
    single = processes.size == 1
    pipe = load_pipeline(
        model, device if single else str(processes.device), dtype, compat, views=views, compile=compile
    )
    if memory_stride is not None:
        set_memory_stride(pipe.model, memory_stride)
    set_propagation(pipe, propagation, sam2_model)
    chooser = None if selector is None else load_selector(selector, device=pipe.device)
    data_options.pop("num_videos", None)  # more videos may join a run
    report = evaluate_model(
        pipe.model,
        pipe.processor,
        selected,
        output,
        split=split,
        data_options=data_options,
        model_name=model,
        protocol=protocol,
        options=options,
        selector=chooser,
        overwrite=overwrite,
        verify=verify,
        num_workers=num_workers,
        processes=processes,
        progress=not quiet,
    )
    processes.close()
    if report is not None:
        print_failures(report.records)
        with claim_outputs(*derived, inputs=read, overwrite=True) as (staged_zip, staged_plots):
            if staged_plots is not None:
                from ..evaluation.plots import draw_plots

                drawn = [plots / path.name for path in draw_plots(report, selected, staged_plots)]
            if staged_zip is not None:
                _write_zip(report.output, rows, dataset, split, staged_zip, zip_file)
        extra = {} if plots is None else {"plots": [str(path) for path in drawn]}
        extra |= {} if zip_file is None else {"zip": str(zip_file)}
        extra |= {} if push_results is None else {"results_url": _push_results(report.output, push_results)}
        _print_results(report, extra, as_json, quiet)


def print_failures(records: list[dict]) -> None:
    for record in records:
        if "error" in record:
            name = f"video {record['video_id']}, expression {record['expression_id']}"
            echo(f"Failed: {name}: {record['error']}", err=True)


def _push_results(output: Path, repo: str) -> str:
    """Add the totals of a run to the card of a model; address of the commit."""
    from ..publishing.push import push_results
    from ..publishing.run_results import read_results

    return push_results(repo, read_results(output)).commit_url


def _derived(zip_file: Path | None, plots: Path | None) -> tuple[Output | None, Output | None]:
    """What is made of a run's results. That of an earlier run is replaced without being asked, as the results are."""
    return None if zip_file is None else OutputFile(zip_file), None if plots is None else OutputFolder(plots)


def _print_results(report, extra: dict, as_json: bool, quiet: bool) -> None:
    """What the first process prints at the end: table, further files, JSON."""
    if as_json:
        print_json({**report.to_dict(), **extra})
    elif not quiet:
        _print_report(report)
        for path in [*extra.get("plots", []), *([extra["zip"]] if "zip" in extra else [])]:
            echo(f"Wrote {path}")
        if "results_url" in extra:
            echo(f"Added the scores to the card: {extra['results_url']}")


def _default_output(dataset: str, split: str, data_options: dict, *models: str | None) -> Path:
    options = [f"{name}{value}" for name, value in sorted(data_options.items()) if name != "num_videos"]
    names = [Path(os.path.realpath(name)).name for name in models if name is not None]
    name = "-".join([dataset, split, *options, *names])
    return Path("outputs") / re.sub(r"[^\w.-]", "_", name)


def _check_zip(zip_file: Path, dataset: str) -> None:
    """Refuse an impossible archive before the long work."""
    from ..predictions.submission_zip import check_submission

    check_submission(zip_file, dataset)


def _write_zip(root: Path, rows, dataset: str, split: str, staged: Path, zip_file: Path) -> None:
    from ..errors import SubmissionError
    from ..predictions.submission_zip import write_submission_zip

    try:
        write_submission_zip(root, rows, dataset, split, staged)
    except SubmissionError as error:
        echo(error, err=True)
        raise UserError(f"{zip_file}: not written; the predictions are in {root}") from None


def _print_report(report) -> None:
    from .score import print_totals

    counts = report.counts
    if report.totals is not None:
        print_totals(report.totals)
    else:
        echo(f"{counts['num_expressions']} expressions segmented; there is no ground truth to score against")
    if counts[EXPRESSIONS_WITH_MISSING]:
        num_frames, num_expressions = counts[MISSING_FRAMES], counts[EXPRESSIONS_WITH_MISSING]
        echo(f"No answer on {num_frames} frames of {num_expressions} expressions: empty masks there")
    echo(f"Predictions, results.jsonl and summary.json: {report.output}")
