"""`glus-hf new-model`: a checkpoint to start training from, out of two models of the Hub."""

from __future__ import annotations

from typing import Annotated

import typer

from ..model_families import NEW_MODEL, load_module
from ..output_claim import OutputFolder, claim_outputs
from .convert import Folder, Quiet, ShardSize, report_folder
from .options import Json, Overwrite, model_folders


def new_model(
    output: Folder,
    vlm: Annotated[str, typer.Option(help="Vision-language model: folder or Hub name, as Qwen/Qwen3-VL-2B-Instruct.")],
    mask: Annotated[str, typer.Option(help="Mask model: folder or Hub name, as facebook/sam2.1-hiera-tiny.")],
    frame_times: Annotated[
        bool, typer.Option("--frame-times", help="Tell the model in words where in the video each frame is.")
    ] = False,
    max_frame_tokens: Annotated[
        int, typer.Option(min=1, help="Most positions of a frame, for models that choose it by the image.")
    ] = 128,
    seed: Annotated[int, typer.Option(help="Of new weights.")] = 0,
    dtype: Annotated[str, typer.Option(help="keep, float32, bfloat16 or float16.")] = "keep",
    max_shard_size: ShardSize = "5GB",
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Put a model together to train: a vision-language model that reads the frames, and a mask model.

    It knows nothing of [SEG] yet: train it before you segment with it.
    """
    make = load_module(NEW_MODEL).make_new_model
    with claim_outputs(OutputFolder(output), inputs=model_folders(vlm, mask), overwrite=overwrite) as (folder,):
        make(
            vlm,
            mask,
            folder,
            frame_times=frame_times,
            max_frame_tokens=max_frame_tokens,
            seed=seed,
            dtype=dtype,
            max_shard_size=max_shard_size,
            progress=not quiet,
        )
    report_folder(output.absolute(), as_json)
