"""`glus-hf report`: one HTML page about a run, or about two models on the same expressions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError
from ..output_claim import OutputFile, claim_outputs
from . import dataset_options
from .options import Json, Overwrite
from .output import echo, print_json, set_progress


LOADING = {"name", "data_dir", "split", "streaming", "num_proc", "cache_dir"}


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Output folder of glus-hf evaluate or train.")],
    other: Annotated[
        Path | None, typer.Argument(metavar="[OTHER_RUN]", help="A second evaluation, to be put beside the first.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The page to write.")] = Path("report.html"),
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the dataset; generated data needs none.")] = None,
    num_videos: Annotated[int | None, typer.Option(min=1, help="How many generated videos the run had.")] = None,
    worst: Annotated[int, typer.Option(min=0, help="Worst expressions; with OTHER_RUN, of every challenge.")] = 8,
    best: Annotated[int, typer.Option(min=0, help="Best expressions.")] = 4,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False,
) -> None:
    """Write one self-contained HTML page about a run: curves, scores, the worst and best expressions as players."""
    from ..reports.page import comparison_page, evaluation_page, training_page
    from ..reports.read_run import EvaluationRun, read_run

    set_progress(quiet)
    dataset_options.set_dataset_progress(quiet)
    runs = [read_run(folder) for folder in (run, other) if folder is not None]
    if other is not None and not all(isinstance(found, EvaluationRun) for found in runs):
        raise UserError(f"{run} and {other}: two evaluations are put side by side; name one run alone otherwise")
    with claim_outputs(OutputFile(output), inputs=[run, other], overwrite=overwrite) as (staged,):
        if not isinstance(runs[0], EvaluationRun):
            page = training_page(runs[0])
        else:
            row_of = _row_finder(runs[0], data_dir, num_videos)
            page = (
                comparison_page(*runs, row_of, each=worst)
                if other is not None
                else evaluation_page(runs[0], row_of, worst, best)
            )
        staged.write_text(page, encoding="utf-8")
    if as_json:
        print_json({"output": str(output), "bytes": output.stat().st_size})
    elif not quiet:
        echo(f"Report: {output}")


def _data_options(run) -> dict:
    """Options of the run's dataset. Those of its loading are not the run's to say: a cache would be written there."""
    options = run.settings.get("data_options") or {}
    if not isinstance(options, dict) or LOADING & options.keys():
        raise UserError(f"{run.folder}: its summary has options that no dataset has; evaluate again")
    return options


def _row_finder(run, data_dir: Path | None, num_videos: int | None):
    """Finds the row of an expression in the run's dataset."""
    from ..data.load_dataset import load_referring_dataset
    from ..rows import column

    settings = run.settings
    options = _data_options(run) | ({} if num_videos is None else {"num_videos": num_videos})
    rows = load_referring_dataset(str(settings.get("dataset")), data_dir, str(settings.get("split")), **options)
    places = zip(column(rows, "video_id"), column(rows, "expression_id"), strict=True)
    index = {(str(video), str(expression)): number for number, (video, expression) in enumerate(places)}
    return lambda video, expression: rows[index[video, expression]] if (video, expression) in index else None
