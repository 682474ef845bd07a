"""`glus-hf evaluate-vos`: follow the given masks of DAVIS, YouTube-VOS or MOSE through their videos, and score."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError
from .options import DecodeLimit, Device, Dtype, Json, Model, Overwrite, decode_limits, load_pipeline
from .output import echo, print_json, print_table, set_progress
from .track import Reference


SPLITS = {"davis": "val", "youtube-vos": "valid", "mose": "valid"}


def evaluate_vos(
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="Folder of the dataset.")],
    layout: Annotated[str, typer.Option(help=f"Layout of the folder: {', '.join(SPLITS)}.")],
    split: Annotated[str | None, typer.Option(help="Split; by default val of DAVIS and valid of the others.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of palette PNGs and results. Default: outputs/vos-LAYOUT-..."),
    ] = None,
    model: Model = "glee-tiny",
    reference: Reference = "first",
    max_videos: Annotated[int | None, typer.Option(min=1, help="The first videos only.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Objects that are decoded at once.")] = None,
    device: Device = None,
    dtype: Dtype = "auto",
    decode_limit: DecodeLimit = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No table and no progress bars.")] = False,
) -> None:
    """Follow objects from the masks that a dataset gives; write palette PNGs and, where all masks are known, J and F.

    The same command again goes on where it was stopped.
    """
    limits = decode_limits(decode_limit)
    options = {"batch_size": batch_size, "limits": limits, "overwrite": overwrite}
    follow_given(root, layout, split, model, output, reference, max_videos, device, dtype, options, as_json, quiet)


def follow_given(
    root: Path,
    layout: str,
    split: str | None,
    model: str,
    output: Path | None,
    reference: str,
    max_videos: int | None,
    device: str | None,
    dtype: str,
    options: dict,
    as_json: bool,
    quiet: bool,
    timeout_minutes: float = 120,
) -> None:
    """What `evaluate-vos` and `evaluate-objects --task vos` do; `options` are those of `evaluate_vos`."""
    if layout not in SPLITS:
        raise UserError(f"--layout {layout:.80} is unknown; use {', '.join(SPLITS)}")
    split = split or SPLITS[layout]
    from ..data.vos_layouts import find_vos_videos, seen_objects
    from ..evaluation import vos
    from ..evaluation.runs.distributed import Processes

    set_progress(quiet)
    videos = find_vos_videos(root, layout, split)[:max_videos]
    output = output or Path("outputs") / f"vos-{layout}-{split}-{Path(model).resolve().name}-{reference}"
    processes = Processes(cpu=device == "cpu", timeout_minutes=timeout_minutes)
    pipe = load_pipeline(model, device if processes.size == 1 else str(processes.device), dtype)
    options = {**options, "layout": layout, "split": split, "reference": reference, "model_name": model}
    options |= {"seen": seen_objects(root, split) if layout == "youtube-vos" else None, "progress": not quiet}
    summary = vos.evaluate_vos(pipe.model, pipe.processor, videos, output, **options, processes=processes)
    processes.close()
    if summary is None:
        return
    if as_json:
        print_json({**summary, "output": str(output)})
    elif not quiet:
        _print_totals(summary)
        echo(f"Masks, results.jsonl and summary.json: {output}")


def _print_totals(summary: dict) -> None:
    if summary["totals"] is None:
        echo(f"{summary['num_objects']} objects of {summary['num_videos']} videos followed; no masks to score against")
        return
    names = {"semi": "without the given and the last frame", "all": "all frames"}
    scores = ("J&F", "J", "F", "G", "Js", "Fs", "Ju", "Fu")
    header = [score for score in scores if any(score in each for each in summary["totals"].values())]
    rows = [
        [names[name], each["objects"], *(f"{100 * each[score]:.1f}" if score in each else "" for score in header)]
        for name, each in summary["totals"].items()
    ]
    print_table(["", "objects", *header], rows)


__all__ = ["evaluate_vos", "follow_given"]
