"""`glus-hf export-masks`: masks on disk, in the formats of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError
from ..output_claim import OutputFolder, claim_outputs
from .options import Json, Overwrite
from .output import echo, print_json, set_progress


Formats = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="NAME[,NAME]",
        help="Formats: coco-video (youtube-vis), coco (fiftyone), rle-jsonl, davis, png, yolo, cvat, label-studio.",
    ),
]
WithFrames = Annotated[
    bool, typer.Option("--with-frames", help="Also write the frames as images, where the format has a place for them.")
]


def export_masks(
    masks: Annotated[Path, typer.Argument(metavar="MASKS", help="Folder of --masks-dir, or of glus-hf evaluate.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to make: one folder per format in it.")],
    formats: Formats = None,
    video: Annotated[
        Path | None,
        typer.Option(
            help="Video of the masks, a file or a folder of frames; or a folder with the videos of all masks."
        ),
    ] = None,
    texts: Annotated[
        Path | None, typer.Option(help='JSON file of the expressions: {"video": {"0": "the dog"}}, or as in MeViS.')
    ] = None,
    with_frames: WithFrames = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No warnings.")] = False,
) -> None:
    """Write masks in formats of other programs, each into a folder of its own; docs/formats.md describes them."""
    from ..data.own.own_folder import read_texts
    from ..predictions.exports.formats import find_formats, write_formats
    from ..predictions.exports.mask_folders import read_mask_folder

    set_progress(quiet)
    if formats is None:
        raise UserError("--format is missing: pass one or more, as in --format davis,yolo")
    names = find_formats(formats)
    if with_frames and video is None:
        raise UserError("--with-frames needs --video: the masks alone do not have the frames")
    with claim_outputs(OutputFolder(output), inputs=[masks, video, texts], overwrite=overwrite) as (folder,):
        found = read_mask_folder(masks, None if texts is None else read_texts(texts))
        if video is not None:
            found = [_with_video(entry, video, len(found) == 1, with_frames) for entry in found]
        write_formats(found, names, folder)
    num_expressions = sum(len(entry.labels) for entry in found)
    _report({name: output / name for name in names}, len(found), num_expressions, as_json, quiet)


def _with_video(entry, source: Path, is_only: bool, keep: bool):
    """Masks with their frames: `source` itself is the video, or it has one of that name."""
    from ..data.own.own_folder import find_source
    from ..media.images import existing_path, list_images
    from ..predictions.exports.mask_folders import add_frames

    is_video = existing_path(source).is_file() or bool(list_images(source))
    if not is_video:
        source = find_source(source, entry.video)
    elif not is_only:
        raise UserError(f"{source}: is one video, but there are masks of several; name the folder with all of them")
    return add_frames(entry, source, keep)


def _report(folders: dict[str, Path], num_videos: int, num_expressions: int, as_json: bool, quiet: bool) -> None:
    if as_json:
        names = {name: str(folder) for name, folder in folders.items()}
        print_json({"formats": names, "videos": num_videos, "expressions": num_expressions})
    elif not quiet:
        for name, folder in folders.items():
            echo(f"{name}: {folder}")


__all__ = ["Formats", "WithFrames", "export_masks"]
