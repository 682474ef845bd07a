"""Options that several commands have, and the model they ask for."""

from __future__ import annotations

import re
import sys
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError
from ..model_families import TASK
from .quick_start import without_collection


DTYPES = ("auto", "float32", "bfloat16", "float16")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of stdout.")]
Model = Annotated[str, typer.Option(help="Bundled model, folder or Hub name, also as OWNER/NAME@REVISION.")]
Selector = Annotated[str | None, typer.Option(help="Bundled selector, folder or Hub name.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps, ...; by default the first accelerator.")]
Dtype = Annotated[str, typer.Option(help=f"Precision of the weights: {', '.join(DTYPES)}.")]
Compat = Annotated[str | None, typer.Option(help="Compute as: released (default), evaluation-script or paper.")]
Views = Annotated[
    str,
    typer.Option(
        help="Where views of frames are made: pil (on the CPU, as the original code), device (that of the model), or "
        "auto: on a GPU there."
    ),
]
Compile = Annotated[bool, typer.Option("--compile", help="Compile the stages of inference; for GPUs.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the output of an earlier run; files of others are never touched.")
]
NoTargetThreshold = Annotated[
    float | None, typer.Option(help="Empty masks where selector score x mask score is below it.")
]
Threshold = Annotated[float, typer.Option(help="Mask logits above it are foreground; 0 is probability 0.5.")]
BatchSize = Annotated[
    int | None, typer.Option(min=1, help="Windows the language model reads at once. Default: as fits in memory.")
]
Window = Annotated[
    str, typer.Option(help="sliding (exact), or whole: faster, one pass of the language model for several frames.")
]
FrameStride = Annotated[
    int, typer.Option(min=1, help="Let the language model read every so many frames only; 1 is exact.")
]
MaskSize = Annotated[
    int | None,
    typer.Option(help="Side in pixels at which masks are drawn, where the model has a choice: a multiple of 32."),
]
PROPAGATIONS = ("model", "sam2")
Propagation = Annotated[
    str,
    typer.Option(
        help="model: as the model does it; sam2: the model segments the key frame alone, and plain SAM-2 carries "
        "the mask through the video (a baseline)."
    ),
]
Sam2Model = Annotated[
    str | None,
    typer.Option(
        help="SAM-2 of --propagation sam2: folder or Hub name, as facebook/sam2.1-hiera-tiny. Default: the "
        "model's own."
    ),
]
MaxDownload = Annotated[int, typer.Option(min=1, help="Largest file to download, in MB.")]
AllowPrivate = Annotated[
    bool, typer.Option("--allow-private-addresses", help="Also download from this machine and private networks.")
]
MB = 1_000_000
DecodeLimit = Annotated[
    list[str] | None,
    typer.Option(
        help="Raise or lower what a video may ask for, as NAME=VALUE: memory (12GB), frame_pixels, seconds or "
        "file_bytes; repeatable."
    ),
]


def decode_limits(texts: list[str] | None):
    """The [`DecodeLimits`] of `--decode-limit`.

    Raises:
        UserError: a name or a value that it cannot have.

    Example:
        >>> decode_limits(["memory=12GB", "seconds=60"])
        DecodeLimits(memory=12000000000, frame_pixels=50000000, seconds=60, file_bytes=16000000000)
    """
    from ..media.decode_limits import DecodeLimits

    names = [field.name for field in fields(DecodeLimits)]
    values = {}
    for text in texts or ():
        name, _, value = text.partition("=")
        match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?)(kB|MB|GB)?", value)
        if name not in names or match is None:
            raise UserError(f"--decode-limit {text:.80}: write NAME=VALUE, as memory=12GB; use {', '.join(names)}")
        values[name] = int(float(match[1]) * {None: 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}[match[2]])
    return DecodeLimits(**values)


def load_pipeline(
    model: str,
    device: str | None,
    dtype: str,
    compat: str | None = None,
    task: str = TASK,
    views: str = "auto",
    compile: bool = False,
):
    """The pipeline of `--model`, `--device`, `--dtype`, `--compat`, `--views` and `--compile`."""
    with without_collection():
        from ..models.device_views import VIEWS
        from ..pipelines.factory import pipeline

    if dtype not in DTYPES:
        raise UserError(f"--dtype {dtype} is unknown; use {', '.join(DTYPES)}")
    if views not in VIEWS:
        raise UserError(f"--views {views:.80} is unknown; use {', '.join(VIEWS)}")
    if device is not None:
        _check_device(device)
    _tell_of_the_hub(model)
    preset = {} if compat is None else {"compat": compat}
    preset |= {"compile": True} if compile else {}
    with without_collection():
        pipe = pipeline(task=task, model=model, device=device, dtype=dtype, **preset)
    set_views(pipe, views)
    return pipe


def set_propagation(pipe, propagation: str, sam2_model: str | None) -> None:
    """`--propagation` and `--sam2-model`: let plain SAM-2 carry the masks of a pipeline's model."""
    if propagation not in PROPAGATIONS:
        raise UserError(f"--propagation {propagation:.80} is unknown; use {' or '.join(PROPAGATIONS)}")
    if propagation != "sam2":
        if sam2_model is not None:
            raise UserError("--sam2-model goes with --propagation sam2; add it, or leave --sam2-model out")
        return
    from ..inference.sam2_propagation import Sam2Propagation, load_sam2

    mask_model = None if sam2_model is None else load_sam2(sam2_model, pipe.device)
    pipe.model = Sam2Propagation(pipe.model, mask_model)


def set_views(pipe, views: str) -> None:
    """`--views`: where the views of frames are made."""
    settings = getattr(pipe.processor, "image_processor", None)
    if hasattr(settings, "device_views"):
        settings.views = views
    elif views == "device":
        raise UserError(
            f"--views device: a {pipe.model.config.model_type} model makes its views on the CPU; leave it out"
        )


def set_memory_stride(model, stride: int) -> None:
    """`--memory-stride`: the distance between the older memories that a model reads."""
    if getattr(model.config, "memory_stride", None) is None:
        raise UserError(f"--memory-stride: a {model.config.model_type} model has no memory bank; leave it out")
    model.config.memory_stride = stride


def _tell_of_the_hub(model: str) -> None:
    """A word on stderr before a wait, where progress is shown."""
    from transformers.utils import logging

    from ..hub_access import is_hub_name

    if is_hub_name(model) and logging.is_progress_bar_enabled():
        print(f"Looking for {model} on the Hub and in its cache ...", file=sys.stderr)


def model_folders(*names: str | None) -> list[Path]:
    """The local folders among names of models: no output may lie in them or around them."""
    configs = ("config.json", "adapter_config.json")
    folders = [Path(name) for name in names if name is not None]
    return [folder for folder in folders if any((folder / config).is_file() for config in configs)]


def _check_device(device: str) -> None:
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0][:80]
        raise UserError(f"--device {device} cannot be used ({reason}); use cpu or leave it out") from None


__all__ = [
    "DTYPES",
    "MB",
    "AllowPrivate",
    "BatchSize",
    "Compat",
    "Compile",
    "DecodeLimit",
    "Device",
    "Dtype",
    "FrameStride",
    "Json",
    "MaskSize",
    "MaxDownload",
    "Model",
    "NoTargetThreshold",
    "Propagation",
    "Sam2Model",
    "Overwrite",
    "Selector",
    "Threshold",
    "Views",
    "Window",
    "decode_limits",
    "load_pipeline",
    "model_folders",
    "set_memory_stride",
    "set_propagation",
]
