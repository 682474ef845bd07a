"""`glus-hf data`: check people's own data, and convert other programs' files into it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError
from ..output_claim import OutputFolder, claim_outputs
from . import data_export, data_masks, data_objects, dataset_options
from .options import Json, Overwrite
from .output import echo, print_json, report_errors, set_progress


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]

app = typer.Typer(help="Check and convert your own data; export datasets.", no_args_is_help=True)
for command in (data_masks.convert_davis, data_masks.convert_png, data_masks.convert_cvat, data_export.export):
    app.command()(report_errors(command))


@app.command()
@report_errors
def check(
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Folder in the layout of docs/own-data.md, or of --dataset.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="A dataset of objects: coco, lvis, sa1b, ... (docs/object-datasets.md).")
    ] = None,
    split: Annotated[str, typer.Option(help="With --dataset: its own name of the split.")] = "train",
    max_images: Annotated[int | None, typer.Option(min=1, help="With --dataset: check only the first N.")] = None,
    data_option: Annotated[
        list[str] | None, typer.Option(help="With --dataset: NAME=VALUE (task=ins_seg); repeatable.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List every problem of a folder of your own data, with file and line, or of a dataset of objects. Exit code 2 if
    there are errors.

    For example: glus-hf data check data/coco --dataset coco --split val
    """
    set_progress(quiet)
    if dataset is not None:
        options = dataset_options.data_options(data_option, None, None)
        data_objects.check_objects(dataset, folder, split, max_images, options, as_json)
        return
    if folder is None:
        raise UserError("DIR is missing: name the folder of your own data, or a dataset with --dataset")
    from ..data.own.check import check_own_data

    report = check_own_data(folder)
    if as_json:
        print_json(report.to_dict())
    else:
        for kind, problems in (("error", report.errors), ("warning", report.warnings)):
            for problem in problems:
                echo(f"{kind}: {problem}")
        counts = [(report.num_videos, "video"), (report.num_expressions, "expression"), (report.num_frames, "frame")]
        found = ", ".join(_count(*pair) for pair in counts)
        warned = f" ({_count(len(report.warnings), 'warning')})" if report.warnings else ""
        echo(f"Not usable: {_count(len(report.errors), 'error')}{warned}" if report.errors else f"OK: {found}{warned}")
    if report.errors:
        raise typer.Exit(2)


@app.command()
@report_errors
def convert_coco(
    annotations: Annotated[Path, typer.Option(help="JSON file of YouTube-VIS or COCO video annotations.")],
    frames: Annotated[Path, typer.Option(help="Folder that the JSON's file names start from.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to make.")],
    copy: Annotated[bool, typer.Option("--copy", help="Copy the frames; without it they are linked.")] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Convert YouTube-VIS or COCO video annotations into the layout of docs/own-data.md."""
    from ..data.own.coco_video import convert_coco_video

    set_progress(quiet)
    with claim_outputs(OutputFolder(output), inputs=[annotations, frames], overwrite=overwrite) as (folder,):
        counts = convert_coco_video(annotations, frames, folder, copy=copy)
    if as_json:
        print_json({"output": str(output), **counts})
        return
    empty = counts["empty_videos"]
    left_out = f"; left out {_count(empty, 'video')} without annotations" if empty else ""
    echo(
        f"Wrote {output}: {_count(counts['videos'], 'video')}, {_count(counts['expressions'], 'expression')}{left_out}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
