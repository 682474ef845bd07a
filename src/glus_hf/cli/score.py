"""`glus-hf score`: score a finished tree of predictions, without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..output_claim import OutputFile, claim_outputs
from . import dataset_options
from .options import Json, Overwrite
from .output import echo, print_json, print_table, set_progress


EXTRA_SCORES = ("A", "R", "N-acc", "T-acc", "Final", "tIoU", "vIoU")


def score(
    dataset: Annotated[str, typer.Option(help="mevis, refer_youtube_vos, revos, motion_shapes, own, ...")],
    split: Annotated[str, typer.Option(help="The dataset's own name of the split.")],
    predictions: Annotated[Path, typer.Option(help="Folder with VIDEO/EXPRESSION/FRAME.png.")],
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the dataset; generated data needs none.")] = None,
    protocol: Annotated[
        str | None, typer.Option(help="How to score (docs/metrics.md); by default the dataset's own.")
    ] = None,
    missing: Annotated[
        str | None, typer.Option(help="Expressions with missing masks: error, zero, skip or empty.")
    ] = None,
    num_workers: Annotated[int, typer.Option(min=0, help="Processes that score.")] = 1,
    seed: Annotated[int | None, typer.Option(min=0, help="Of generated data.")] = None,
    num_videos: Annotated[int | None, typer.Option(min=1, help="How many generated videos.")] = None,
    data_option: Annotated[
        list[str] | None, typer.Option(help="Another option of the dataset as NAME=VALUE (version=v2); repeatable.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the scores of each expression as JSON lines.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No table and no progress bar.")] = False,
) -> None:
    """Score predicted masks as a benchmark does."""
    from ..data.load_dataset import dataset_folder, load_referring_dataset
    from ..evaluation.scoring.protocols import get_protocol
    from ..evaluation.scoring.score_predictions import score_predictions, write_records

    if protocol is not None or missing is not None:
        get_protocol(protocol or "own", missing)  # a wrong name should not wait for the data
    set_progress(quiet)
    dataset_options.set_dataset_progress(quiet)
    options = dataset_options.data_options(data_option, seed, num_videos)
    read = [dataset_folder(dataset, data_dir, split, **options), predictions]
    claimed = None if output is None else OutputFile(output)
    with claim_outputs(claimed, inputs=read, overwrite=overwrite) as (records,):
        rows = load_referring_dataset(dataset, data_dir, split, **options)
        report = score_predictions(rows, predictions, protocol, num_workers, missing=missing, progress=not quiet)
        if records is not None:
            write_records(records, report.records)
    if report.totals["missing"]:
        echo(missing_note(report.totals), err=True)
    if not quiet and not as_json:
        print_totals(report.totals)
    if as_json:
        print_json(report.totals)


def print_totals(totals: dict) -> None:
    """Print the totals of a protocol as one table, in percent with one decimal."""
    extras = [name for name in EXTRA_SCORES if name in totals]
    header = [totals["protocol"], "expressions", "J", "F", "J&F", *extras]
    groups = [*totals["by_type"].items(), ("all", totals)]
    rows = [
        [name, values["num_expressions"], *(_percent(values.get(key), totals["scale"]) for key in header[2:])]
        for name, values in groups
    ]
    print_table(header, rows)


def missing_note(totals: dict) -> str:
    """One line that says what was missing and what it did to the scores."""
    from ..evaluation.scoring.protocols import PROTOCOLS

    fused = PROTOCOLS[totals["protocol"]].unit == "davis_object"
    effects = {
        "zero": "they score 0",
        "skip": "they are left out, which may raise the scores",
        "empty": "a missing frame counts as an empty mask, an expression without any scores 0",
    }
    effect = "they are fused as empty masks" if fused else effects[totals["missing_policy"]]
    return f"Warning: missing masks: {totals['missing_frames']}, in expressions: {totals['missing']}; {effect}"


def _percent(value: float | None, scale: int) -> str:
    return "-" if value is None else f"{100 * value / scale:.1f}"
