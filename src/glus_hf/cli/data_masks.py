"""`glus-hf data convert-davis`, `convert-png` and `convert-cvat`: masks of other programs into own data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ..output_claim import OutputFolder, claim_outputs
from .options import Json, Overwrite
from .output import echo, print_json, set_progress


Masks = Annotated[Path, typer.Option(help="Folder of the mask PNGs.")]
Frames = Annotated[Path, typer.Option(help="Folder with the videos: <video>/ with images, or <video>.mp4.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder to make.")]
Texts = Annotated[
    Path | None, typer.Option(help='JSON of the expressions: {"video": {"1": "the dog"}}. Default: beside the masks.')
]
Copy = Annotated[bool, typer.Option("--copy", help="Copy the frames; without it they are linked.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]


def convert_davis(
    masks: Masks,
    frames: Frames,
    output: Output,
    texts: Texts = None,
    copy: Copy = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Convert palette PNGs MASKS/<video>/<frame>.png into the layout of docs/own-data.md."""
    from ..data.own.mask_pngs import convert_davis

    convert = lambda folder: convert_davis(masks, frames, folder, texts, copy)
    _convert(convert, output, [masks, frames, texts], overwrite, as_json, quiet)


def convert_png(
    masks: Masks,
    frames: Frames,
    output: Output,
    texts: Texts = None,
    copy: Copy = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Convert binary PNGs MASKS/<video>/<object>/<frame>.png into the layout of docs/own-data.md."""
    from ..data.own.mask_pngs import convert_png

    convert = lambda folder: convert_png(masks, frames, folder, texts, copy)
    _convert(convert, output, [masks, frames, texts], overwrite, as_json, quiet)


def convert_cvat(
    annotations: Annotated[Path, typer.Option(help="XML file of CVAT for video 1.1.")],
    video: Annotated[Path, typer.Option(help="Video file of the task, or the folder of its frames.")],
    output: Output,
    copy: Copy = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Convert masks of a CVAT task into the layout of docs/own-data.md."""
    from ..data.own.cvat_video import convert_cvat

    convert = lambda folder: convert_cvat(annotations, video, folder, copy)
    _convert(convert, output, [annotations, video], overwrite, as_json, quiet)


def _convert(
    convert: Callable[[Path], dict[str, int]], output: Path, inputs: list, overwrite: bool, as_json: bool, quiet: bool
) -> None:
    """Let `convert` fill a folder that becomes the output, and print what it counts."""
    set_progress(quiet)
    with claim_outputs(OutputFolder(output), inputs=inputs, overwrite=overwrite) as (folder,):
        counts = convert(folder)
    if as_json:
        print_json({"output": str(output), **counts})
    else:
        echo(f"Wrote {output}: {', '.join(_count(number, noun) for noun, number in counts.items())}")


def _count(number: int, nouns: str) -> str:
    return f"{number} {nouns.removesuffix('s') if number == 1 else nouns}"


__all__ = ["convert_cvat", "convert_davis", "convert_png"]
