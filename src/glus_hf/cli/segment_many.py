"""`glus-hf segment-many`: the videos of a manifest, to masks in Parquet."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ..checkpoint_files.json_fields import shorten
from ..errors import UserError
from ..inference.frame_masks import EXPRESSIONS_WITH_MISSING, MISSING_FRAMES
from ..output_claim import OutputFile, OutputFolder, absolute_place, check_outputs, check_place, claim_outputs
from . import dataset_options
from .engine_notes import fit_mask_size
from .evaluate import print_failures
from .options import (
    MB,
    AllowPrivate,
    Compat,
    Compile,
    DecodeLimit,
    Device,
    Dtype,
    FrameStride,
    Json,
    MaskSize,
    MaxDownload,
    Model,
    Overwrite,
    Propagation,
    Sam2Model,
    Threshold,
    Views,
    Window,
    decode_limits,
    load_pipeline,
    model_folders,
    set_propagation,
)
from .output import echo, print_json, set_progress


ENGINES = ("local", "ray")


@dataclass(frozen=True)
class ModelChoice:
    """A model and how it is to be loaded, here or on a worker."""

    model: str
    device: str | None
    dtype: str
    compat: str | None
    mask_size: int | None
    propagation: str
    sam2_model: str | None
    views: str = "auto"
    compile: bool = False

    def __call__(self) -> tuple:
        """Model and processor."""
        pipe = load_pipeline(self.model, self.device, self.dtype, self.compat, views=self.views, compile=self.compile)
        fit_mask_size(pipe.model, self.mask_size)
        set_propagation(pipe, self.propagation, self.sam2_model)
        return pipe.model, pipe.processor


def segment_many(
    manifest: Annotated[
        Path,
        typer.Argument(metavar="MANIFEST", help=".jsonl, .csv or .parquet with video and expression or expressions."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for masks and results.")],
    table: Annotated[
        Path | None, typer.Option(help="Also write all masks into this one Parquet file, at the end.")
    ] = None,
    model: Model = "glus-tiny",
    engine: Annotated[str, typer.Option(help="local (this process, torchrun or accelerate), or ray.")] = "local",
    num_workers: Annotated[
        int | None, typer.Option(min=1, help="Of ray: workers, each with a model. Default: as fit in the cluster.")
    ] = None,
    num_gpus: Annotated[
        float | None, typer.Option(min=0, help="Of ray: GPUs per worker, also 0.5. Default: 1 where there are any.")
    ] = None,
    num_cpus: Annotated[
        float | None, typer.Option(min=0.01, help="Of ray: CPUs per worker, and so its threads. Default: 1.")
    ] = None,
    retries: Annotated[
        int | None, typer.Option(min=0, help="Of ray: new tries where a worker died. Default: 3.")
    ] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="Of ray: the cluster. Default: the running one, else one on this machine.")
    ] = None,
    texts_per_pass: Annotated[int, typer.Option(min=1, help="Expressions of a video segmented together.")] = 8,
    batch_size: Annotated[int, typer.Option(min=0, help="Windows the language model reads at once; 0: as fits.")] = 8,
    context_frames: Annotated[str | None, typer.Option(help="middle, uniform, or indices as 0,5,10,15.")] = None,
    threshold: Threshold = 0.0,
    mask_size: MaskSize = None,
    propagation: Propagation = "model",
    sam2_model: Sam2Model = None,
    window: Window = "sliding",
    frame_stride: FrameStride = 1,
    views: Views = "auto",
    compile: Compile = False,
    max_frames: Annotated[int | None, typer.Option(min=1, help="Read only this many frames of each video.")] = None,
    decode_limit: DecodeLimit = None,
    max_download: MaxDownload = 1074,
    allow_private_addresses: AllowPrivate = False,
    device: Device = None,
    dtype: Dtype = "auto",
    compat: Compat = None,
    on_error: Annotated[str, typer.Option(help="skip: report what fails and go on; or raise: stop there.")] = "skip",
    overwrite: Overwrite = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="When resuming, compare finished files by hash, not size.")
    ] = False,
    timeout_minutes: Annotated[float, typer.Option(min=0.1, help="Wait this long for the slowest process.")] = 120,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No summary and no progress bars.")] = False,
) -> None:
    """Segment all videos of MANIFEST; write the masks as Parquet. Run it again to resume."""
    own = {"num_workers": num_workers, "num_gpus": num_gpus, "num_cpus": num_cpus, "retries": retries}
    own = {name: value for name, value in {**own, "address": ray_address}.items() if value is not None}
    _check_engine(engine, own)
    from ..data.listed_video import VideoReader
    from ..data.video_list import read_video_list
    from ..evaluation.many import segment_many as many
    from ..evaluation.options import EvaluationOptions
    from ..evaluation.runs.distributed import Processes
    from ..media.download import DownloadOptions

    set_progress(quiet)
    options = EvaluationOptions(
        texts_per_pass=texts_per_pass,
        threshold=threshold,
        batch_size=batch_size or None,
        context_frames=dataset_options.context_frames(context_frames),
        window=window,
        frame_stride=frame_stride,
        on_error=on_error,
        limits=decode_limits(decode_limit),
    )
    download = DownloadOptions(max_download * MB, allow_private=allow_private_addresses)
    reader = VideoReader(options.limits, download, max_frames)
    read = [manifest, *model_folders(model, sam2_model)]
    check_place(OutputFolder(output), read)
    tables = None if table is None else OutputFile(table)
    if table is not None and absolute_place(table).is_relative_to(absolute_place(output)):
        raise UserError(f"{table}: lies in {output}, which has files of its own; choose another place for the table")
    check_outputs(tables, inputs=read, overwrite=True)
    rows = read_video_list(manifest)
    processes = Processes(cpu=engine == "ray" or device == "cpu", timeout_minutes=timeout_minutes)
    if engine == "ray" and processes.size > 1:
        raise UserError("--engine ray starts its own workers; start the command without torchrun or accelerate")
    if device is not None and ":" in device and processes.size > 1:
        raise UserError(f"--device {device}: each of {processes.size} processes takes its own; leave the number out")
    names = _found_anywhere(model), sam2_model and _found_anywhere(sam2_model)
    choice = ModelChoice(names[0], device, dtype, compat, mask_size, propagation, names[1], views, compile)
    runner = _ray_engine(choice, own) if engine == "ray" else _local_engine(choice, processes)
    with claim_outputs(tables if processes.is_main else None, inputs=read, overwrite=True) as (staged,):
        report = many.segment_many(
            rows,
            output,
            runner,
            options=options,
            reader=reader,
            model_name=model,
            table=staged,
            overwrite=overwrite,
            verify=verify,
            processes=processes,
            progress=not quiet,
        )
    processes.close()
    if report is None:
        return
    print_failures(report.records)
    places = {"output": str(output), "table": None if table is None else str(table)}
    if as_json:
        print_json({**report.to_dict(), **places})
    elif not quiet:
        _print_counts(report.counts, places)
    if report.records and report.counts["failed"] == report.counts["num_expressions"]:
        first = shorten(report.records[0]["error"], 300)
        raise UserError(f"all {len(report.records)} expressions failed; the first: {first}")


def _check_engine(engine: str, own: dict) -> None:
    if engine not in ENGINES:
        raise UserError(f"--engine {engine:.80} is unknown; use {' or '.join(ENGINES)}")
    if engine != "ray" and own:
        first = next(iter(own))
        name = "--ray-address" if first == "address" else f"--{first.replace('_', '-')}"
        raise UserError(f"{name} goes with --engine ray; add it, or leave {name} out")


def _found_anywhere(model: str) -> str:
    """A local folder by its absolute path: a worker has another working folder."""
    return os.path.abspath(model) if model_folders(model) else model


def _local_engine(choice: ModelChoice, processes):
    from dataclasses import replace

    from ..evaluation.many.segment_many import LocalEngine

    if processes.size > 1:
        choice = replace(choice, device=str(processes.device))
    return LocalEngine(*choice())


def _ray_engine(choice: ModelChoice, own: dict):
    from ..evaluation.many.ray_engine import RayEngine, RayOptions

    return RayEngine(choice, RayOptions(**own))


def _print_counts(counts: dict, places: dict) -> None:
    done = counts["num_expressions"] - counts["failed"]
    echo(f"{done} of {counts['num_expressions']} expressions segmented, {counts['num_frames']} masks")
    if counts["failed"]:
        echo(f"{counts['failed']} failed; run the command again to try them again")
    if counts[EXPRESSIONS_WITH_MISSING]:
        echo(f"No answer on {counts[MISSING_FRAMES]} frames of {counts[EXPRESSIONS_WITH_MISSING]} expressions")
    echo(f"Masks, results.jsonl and summary.json: {places['output']}")
    if places["table"] is not None:
        echo(f"Table: {places['table']}")


__all__ = ["segment_many"]
