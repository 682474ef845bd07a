"""`glus-hf data convert-davis`, `convert-png` and `convert-cvat`: masks of other programs into own data."""

from __future__ import annotations

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
    from ..data.own import mask_pngs

    set_progress(quiet)
    with claim_outputs(OutputFolder(output), inputs=[masks, frames, texts], overwrite=overwrite) as (folder,):
        counts = mask_pngs.convert_davis(masks, frames, folder, texts, copy)
    _report(output, counts, as_json)


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
    from ..data.own import mask_pngs

    set_progress(quiet)
    with claim_outputs(OutputFolder(output), inputs=[masks, frames, texts], overwrite=overwrite) as (folder,):
        counts = mask_pngs.convert_png(masks, frames, folder, texts, copy)
    _report(output, counts, as_json)


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
    from ..data.own import cvat_video

    set_progress(quiet)
    with claim_outputs(OutputFolder(output), inputs=[annotations, video], overwrite=overwrite) as (folder,):
        counts = cvat_video.convert_cvat(annotations, video, folder, copy)
    _report(output, counts, as_json)


def _report(output: Path, counts: dict[str, int], as_json: bool) -> None:
    if as_json:
        print_json({"output": str(output), **counts})
    else:
        echo(f"Wrote {output}: {', '.join(_count(number, noun) for noun, number in counts.items())}")


def _count(number: int, nouns: str) -> str:
    return f"{number} {nouns.removesuffix('s') if number == 1 else nouns}"


__all__ = ["convert_cvat", "convert_davis", "convert_png"]
