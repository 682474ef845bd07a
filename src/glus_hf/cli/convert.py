"""`glus-hf convert` and `glus-hf export`: weights from and to the formats of others."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ..checkpoint_files.json_fields import read_fields
from ..errors import UserError
from ..model_families import CONVERTERS, EXPORTERS, FILE_CONVERTER, STARTING_WEIGHTS, load_module
from ..output_claim import OutputFolder, claim_outputs
from .options import Json, Overwrite, model_folders
from .output import echo, print_json


CLIP = "openai/clip-vit-large-patch14"
Folder = Annotated[Path, typer.Option("--output", "-o", help="Folder to make.")]
ShardSize = Annotated[str, typer.Option("--max-shard-size", help="Largest weight file, as 5GB or 200MB.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]


def convert(
    output: Folder,
    source: Annotated[Path | None, typer.Option(help="A released folder, or a released file of weights.")] = None,
    llm: Annotated[Path | None, typer.Option(help="Start training from this LISA-7B-v1 folder and --sam2.")] = None,
    sam2: Annotated[Path | None, typer.Option(help="Meta's SAM-2 .pt file, for --llm.")] = None,
    replace_sam2: Annotated[
        Path | None, typer.Option(help="Copy --model with the mask branch of this SAM-2 .pt file.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Converted model, for --replace-sam2.")] = None,
    clip: Annotated[str, typer.Option(help="CLIP folder or its name on the Hub.")] = CLIP,
    sam2_config: Annotated[
        Path | None, typer.Option(help="SAM-2's yaml file or a name (sam2.1_hiera_l), for other sizes than its four.")
    ] = None,
    projection: Annotated[str, typer.Option(help="With --llm: init (new) or lisa (from the folder).")] = "init",
    new_score_head: Annotated[
        bool, typer.Option("--new-score-head", help="Start training a key-frame selector from a Chat-UniVi --source.")
    ] = False,
    seed: Annotated[int, typer.Option(help="With --llm or --new-score-head: of new weights.")] = 0,
    dtype: Annotated[str, typer.Option(help="keep, float32, bfloat16 or float16.")] = "keep",
    max_shard_size: ShardSize = "5GB",
    compat: Annotated[
        str | None, typer.Option(help="Options as a whole: released, evaluation-script or paper.")
    ] = None,
    fuser_scale: Annotated[str | None, typer.Option(help="checkpoint or identity.")] = None,
    dense_position_dtype: Annotated[str | None, typer.Option(help="model or float32.")] = None,
    multimask_fallback: Annotated[bool | None, typer.Option(help="Another head where a mask is unstable.")] = None,
    memory_features: Annotated[str | None, typer.Option(help="conditioned or raw.")] = None,
    seg_hidden_state: Annotated[str | None, typer.Option(help="last or penultimate.")] = None,
    detach_memory: Annotated[bool | None, typer.Option(help="No gradient through memories.")] = None,
    context_frames: Annotated[str | None, typer.Option(help="middle or uniform.")] = None,
    overlap: Annotated[str | None, typer.Option(help="Training targets of overlapping objects: union or sum.")] = None,
    overwrite: Overwrite = False,
    keep_teacher: Annotated[
        bool, typer.Option("--keep-teacher", help="Keep the frozen text tower, to go on with distillation.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Convert a released GLUS, Chat-UniVi or selector folder (--source, told apart by the model_type in its
    config.json) or a released GLEE file, make starting weights (--llm) or swap SAM-2 (--replace-sam2)."""
    options = {
        "fuser_scale": fuser_scale,
        "dense_position_dtype": dense_position_dtype,
        "multimask_fallback": multimask_fallback,
        "memory_features": memory_features,
        "seg_hidden_state": seg_hidden_state,
        "detach_memory": detach_memory,
        "context_frames": context_frames,
        "overlap": overlap,
    }
    options = {name: value for name, value in options.items() if value is not None}
    options |= {"keep_teacher": True} if keep_teacher else {}
    _check_mode(source, llm, sam2, replace_sam2, model, compat, options)
    common = {"dtype": dtype, "max_shard_size": max_shard_size, "progress": not quiet}
    presets = {"compat": compat, "sam2_config": sam2_config}
    options |= {name: value for name, value in presets.items() if value is not None}
    read = [source, llm, sam2, replace_sam2, sam2_config, *model_folders(model, clip)]
    with claim_outputs(OutputFolder(output), inputs=read, overwrite=overwrite) as (folder,):
        if new_score_head:
            start = _converter(
                source, "convert_starting_selector", "--new-score-head needs the folder of a Chat-UniVi"
            )
            start(source, clip, folder, seed=seed, **common, **_fitting(start, options))
        elif source is not None:
            convert_checkpoint = _converter(source, "convert_checkpoint")
            convert_checkpoint(source, clip, folder, **common, **_fitting(convert_checkpoint, options))
        elif llm is not None:
            start = load_module(STARTING_WEIGHTS).convert_starting_weights
            start(llm, sam2, clip, folder, projection=projection, seed=seed, **common, **options)
        else:
            load_module(STARTING_WEIGHTS).replace_sam2(model, replace_sam2, folder, **common, **options)
    report_folder(output.absolute(), as_json)


def _converter(source: Path | None, function: str, needed: str = "") -> Callable:
    """A function of the converter of this folder or file; that of the first family says what is wrong with another
    folder."""
    if source is not None and source.is_file():
        return _function_of(FILE_CONVERTER, function, needed)
    model_type = None
    if source is not None and (source / "config.json").exists():
        model_type = str(read_fields(source / "config.json", remedy="download it again").get("model_type"))
    return _function_of(CONVERTERS.get(model_type, STARTING_WEIGHTS), function, needed)


def _function_of(module: str, function: str, needed: str) -> Callable:
    found = getattr(load_module(module), function, None)
    if found is None:
        raise UserError(f"{needed}: pass one as --source")
    return found


def _fitting(convert: Callable, options: dict) -> dict:
    """The options given, unless the converter has no such option."""
    parameters = inspect.signature(convert).parameters
    takes_all = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    for name in options:
        if not takes_all and name not in parameters:
            raise UserError(f"--{name.replace('_', '-')}: the model of this --source has no such option; leave it out")
    return options


def export(
    model: Annotated[str, typer.Argument(help="Model folder or alias.")],
    output: Folder,
    format: Annotated[str, typer.Option("--format", help="upstream: for the original code.")] = "upstream",
    tokenizer: Annotated[
        Path | None, typer.Option(help="Folder with tokenizer.model, if the model's has none.")
    ] = None,
    max_shard_size: ShardSize = "10GB",
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a model in the format of the original code."""
    if format not in EXPORTERS:
        raise UserError(f"--format {format} is unknown; use {', '.join(EXPORTERS)}")
    exporter = load_module(EXPORTERS[format])
    read = [tokenizer, *model_folders(model)]
    with claim_outputs(OutputFolder(output), inputs=read, overwrite=overwrite) as (folder,):
        exporter.export_checkpoint(model, folder, format, tokenizer, max_shard_size, progress=not quiet)
    report_folder(output, as_json)


def _check_mode(source, llm, sam2, replace_sam2, model, compat, options) -> None:
    modes = {"--source": source, "--llm": llm, "--replace-sam2": replace_sam2}
    given = [name for name, value in modes.items() if value is not None]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise UserError(f"one of {', '.join(modes)} says what to convert, but there is {found}")
    if (llm is None) != (sam2 is None):
        raise UserError("--llm and --sam2 go together: the language model and the mask branch to start from")
    if (replace_sam2 is None) != (model is None):
        raise UserError("--replace-sam2 FILE.pt and --model FOLDER go together")
    if replace_sam2 is not None and (compat is not None or options):
        name = "compat" if compat is not None else next(iter(options))
        raise UserError(f"--{name.replace('_', '-')} does not go with --replace-sam2, which keeps the options")


def report_folder(folder: Path, as_json: bool) -> None:
    """Say what was written."""
    size = sum(file.stat().st_size for file in folder.iterdir())
    if as_json:
        print_json({"output": str(folder), "bytes": size})
    else:
        echo(f"Wrote {folder} ({size / 1e9:.2f} GB)")
