"""`glus-hf detect`: an image or a video and names of objects, to a picture with boxes, masks, names and scores."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError
from ..json_text import json_text
from ..model_families import DETECTION_TASK
from ..output_claim import OutputFile, claim_outputs
from .detect_frames import Detections
from .detect_tracks import FORMATS, TrackedObjects
from .options import (
    MB,
    AllowPrivate,
    DecodeLimit,
    Device,
    Dtype,
    Json,
    MaxDownload,
    Model,
    Overwrite,
    decode_limits,
    load_pipeline,
    model_folders,
)
from .output import echo, print_json, print_table, set_progress
from .segment import DEFAULT_FPS, OUTPUT_SUFFIXES, stem_of


IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def detect(
    source: Annotated[
        str,
        typer.Argument(metavar="IMAGE|VIDEO", help="Image or video file, folder of frames, or http(s) address."),
    ],
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Names of what to look for.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Picture: .png, .jpg or .webp of an image; .mp4, .mov, .webm or .gif of a video. Default: "
            "IMAGE_detected.png or VIDEO_detected.mp4 here.",
        ),
    ] = None,
    objects_file: Annotated[
        Path | None,
        typer.Option("--objects", help="Write all objects as JSON: frame, name, score, box, and mask as COCO's RLE."),
    ] = None,
    track: Annotated[
        bool, typer.Option("--track", help="Follow objects through the video: one id and colour for each.")
    ] = False,
    objects_format: Annotated[
        str,
        typer.Option("--format", help="Of --objects with --track: objects, ytvis (YouTube-VIS) or tao."),
    ] = "objects",
    model: Model = "glee-tiny",
    threshold: Annotated[float, typer.Option(help="Objects with a lower score are left out.")] = 0.2,
    top_k: Annotated[int | None, typer.Option(min=1, help="Most objects of an image.")] = None,
    masks: Annotated[bool, typer.Option("--masks/--no-masks", help="Draw masks, not boxes alone.")] = True,
    device: Device = None,
    dtype: Dtype = "auto",
    max_frames: Annotated[int | None, typer.Option(help="Read only this many frames.")] = None,
    decode_limit: DecodeLimit = None,
    max_download: MaxDownload = 1074,
    allow_private_addresses: AllowPrivate = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No table and no progress bars.")] = False,
) -> None:
    """Find objects by NAMEs in an image or in every frame of a video; draw boxes, masks, names and scores.

    For example: glus-hf detect street.jpg car "red bus" -o found.png
    """
    output, limits = _checked_output(source, output), decode_limits(decode_limit)
    _check_format(objects_format, track, objects_file)
    from ..media.download import DownloadOptions
    from ..media.video import load_video
    from ..media.video_sources import as_local

    download = DownloadOptions(max_download * MB, allow_private=allow_private_addresses, progress=not quiet)
    if not math.isfinite(threshold):
        raise UserError(f"--threshold {threshold}: must be a finite number; use 0 to 1")
    set_progress(quiet)
    outputs = OutputFile(output), None if objects_file is None else OutputFile(objects_file)
    inputs = [source, *model_folders(model)]
    with (
        claim_outputs(*outputs, inputs=inputs, overwrite=overwrite) as (picture, objects_path),
        as_local(source, download) as local,
    ):
        clip = load_video(local, max_frames, limits)
        if len(clip) > 1 and output.suffix.lower() in IMAGE_SUFFIXES:
            raise UserError(f"{output}: is an image, but {source} has {len(clip)} frames; name a video")
        pipe = load_pipeline(model, device, dtype, task=DETECTION_TASK)
        kind = TrackedObjects if track else Detections
        found = kind(pipe, clip.frames, _without_repetitions(names), threshold, top_k, masks)
        _save(picture, found, clip, local)
        if objects_path is not None:
            as_format = {"format": objects_format} if track else {}
            objects_path.write_text(json_text(found.content(source, **as_format)), encoding="utf-8")
    if as_json:
        places = {"output": str(output), "objects_file": None if objects_file is None else str(objects_file)}
        print_json({**places, **found.content(source, with_masks=False)})
    elif not quiet:
        print_table(["name", "objects", "frames", "best score"], found.rows())
        echo(f"Picture: {output}")
        if objects_file is not None:
            echo(f"Objects: {objects_file}")


def _checked_output(source: str, output: Path | None) -> Path:
    """Where to draw: an image for an image, a video for a video."""
    from ..media.video_sources import is_frame

    is_image = is_frame(source)
    output = output or Path(f"{stem_of(source)}_detected{'.png' if is_image else '.mp4'}")
    suffixes = IMAGE_SUFFIXES + OUTPUT_SUFFIXES
    if output.suffix.lower() not in suffixes:
        raise UserError(f"{output}: is no name of a picture; let it end in {', '.join(suffixes)}")
    return output


def _check_format(objects_format: str, track: bool, objects_file: Path | None) -> None:
    if objects_format not in FORMATS:
        raise UserError(f"--format is {objects_format}; use one of {', '.join(FORMATS)}")
    if objects_format != FORMATS[0] and not (track and objects_file):
        raise UserError(f"--format {objects_format} is of objects that are followed; add --track and --objects FILE")


def _without_repetitions(names: list[str]) -> list[str]:
    unique = list(dict.fromkeys(names))
    if len(unique) < len(names):
        echo(f"{len(names) - len(unique)} repeated names were merged", err=True)
    return unique


def _save(path: Path, pictures: Detections, clip, source) -> None:
    from ..visualization import save_image, save_overlay

    if path.suffix.lower() in IMAGE_SUFFIXES:
        (picture,) = pictures
        save_image(path, picture)
        return
    has_clock = clip.fps and 1 <= clip.fps <= 240
    sound = source if has_clock and Path(source).is_file() else None
    save_overlay(path, iter(pictures), clip.fps if has_clock else DEFAULT_FPS, sound)
