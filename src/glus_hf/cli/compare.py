"""`glus-hf compare`: several models on one dataset, in one table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError
from ..output_claim import OutputFile, claim_outputs
from .options import Device, Dtype, Json
from .output import echo, print_json, print_table, set_progress


def compare(
    models: Annotated[str, typer.Option(help="Bundled models, folders or Hub names, separated by commas.")],
    dataset: Annotated[str, typer.Option(help="mevis, refer_youtube_vos, revos, motion_shapes, own, ...")],
    split: Annotated[str, typer.Option(help="The dataset's own name of the split.")],
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the dataset; generated data needs none.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder: predictions by model, table.md, table.json. Default: outputs/compare-..."
        ),
    ] = None,
    videos: Annotated[str | None, typer.Option(help="Only these video ids, separated by commas.")] = None,
    max_videos: Annotated[int | None, typer.Option(min=1, help="Only the first N videos.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of generated data.")] = None,
    num_videos: Annotated[int | None, typer.Option(min=1, help="How many generated videos.")] = None,
    data_option: Annotated[
        list[str] | None, typer.Option(help="Another option of the dataset as NAME=VALUE; repeatable.")
    ] = None,
    device: Device = None,
    dtype: Dtype = "auto",
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No table and no progress bars.")] = False,
) -> None:
    """Evaluate several models on one dataset; write one table. Run it again to resume.

    Each model runs in a process of its own. A model that fails has its reason in the table; the others go on.
    """
    from ..evaluation.comparison import evaluate_apart, run_folders, table_of, write_comparison

    set_progress(quiet)
    names = [name.strip() for name in models.split(",")]
    output = output or Path("outputs") / re.sub(r"[^\w.-]", "_", f"compare-{dataset}-{split}")
    folders = run_folders(names, output)
    single = {"--dataset": dataset, "--split": split, "--data-dir": data_dir, "--videos": videos}
    single |= {"--max-videos": max_videos, "--seed": seed, "--num-videos": num_videos, "--device": device}
    options = [part for name, value in single.items() if value is not None for part in (name, str(value))]
    options += [part for pair in data_option or () for part in ("--data-option", pair)]
    options += ["--dtype", dtype, *(["--quiet"] if quiet else [])]
    tables = OutputFile(output / "table.md"), OutputFile(output / "table.json")
    with claim_outputs(*tables, inputs=[data_dir], overwrite=True) as (markdown, json_file):
        compared = []
        for name, folder in folders.items():
            if not quiet:
                echo(f"{name}:", err=True)
            compared.append(evaluate_apart(name, folder, options))
        content = write_comparison(compared, {"dataset": dataset, "split": split}, markdown, json_file)
    if as_json:
        print_json({**content, "output": str(output)})
    elif not quiet:
        header, rows = table_of(compared)
        sideways = list(zip(header, *rows))  # models side by side: a terminal is narrow
        print_table(list(sideways[0]), sideways[1:])
        for each in compared:
            if each.notice:
                echo(f"{each.model}: {each.notice}")
        echo(f"Table: {tables[0].path} and {tables[1].path}")
    failed = [each for each in compared if each.error]
    if failed:
        raise UserError(f"{len(failed)} of {len(compared)} models failed; {failed[0].model}: {failed[0].error}")
