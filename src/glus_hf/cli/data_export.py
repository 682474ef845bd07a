"""`glus-hf data export`: the rows of a dataset as one Parquet file, which plain `datasets.load_dataset` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..output_claim import OutputFile, claim_outputs
from . import dataset_options
from .options import Json, Overwrite
from .output import echo, print_json, set_progress


def export(
    dataset: Annotated[str, typer.Argument(help="mevis, refer_youtube_vos, motion_shapes, own, ...")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Parquet file to write.")],
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the dataset; generated data needs none.")] = None,
    split: Annotated[str, typer.Option(help="The dataset's own name of the split.")] = "train",
    embed_images: Annotated[
        bool, typer.Option("--embed-images", help="Add the frames' bytes; for generated and own data only.")
    ] = False,
    seed: Annotated[int | None, typer.Option(min=0, help="Of generated data.")] = None,
    num_videos: Annotated[int | None, typer.Option(min=1, help="How many generated videos.")] = None,
    data_option: Annotated[
        list[str] | None, typer.Option(help="Another option of the dataset as NAME=VALUE (version=v2); repeatable.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False,
) -> None:
    """Write a dataset to Parquet; datasets.load_dataset("parquet", data_files=FILE) reads it.

    For example: glus-hf data export motion_shapes --split test -o test.parquet
    """
    from ..data.load_dataset import dataset_folder, load_referring_dataset
    from ..data.parquet_export import export_parquet

    set_progress(quiet)
    dataset_options.set_dataset_progress(quiet)
    options = dataset_options.data_options(data_option, seed, num_videos)
    read = [dataset_folder(dataset, data_dir, split, **options)]
    with claim_outputs(OutputFile(output), inputs=read, overwrite=overwrite) as (file,):
        rows = load_referring_dataset(dataset, data_dir, split, **options)
        export_parquet(rows, file, embed_images=embed_images)
    if as_json:
        print_json({"output": str(output), "rows": len(rows)})
    else:
        echo(f"Wrote {output}: {len(rows)} rows")
