"""`glus-hf detect`: an image or a video and names of objects, to a picture with boxes, masks, names and scores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError
from ..json_text import json_text
from ..model_families import DETECTION_TASK
from ..output_claim import OutputFile, claim_outputs
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
MIN_DRAWN_SIDE = 384  # smaller images are enlarged, so that names can be read
DECIMALS = 4


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
    from ..media.download import DownloadOptions
    from ..media.video import load_video
    from ..media.video_sources import as_local

    download = DownloadOptions(max_download * MB, allow_private=allow_private_addresses, progress=not quiet)
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
        found = Detections(pipe, clip.frames, _without_repetitions(names), threshold, top_k, masks)
        _save(picture, found, clip, local)
        if objects_path is not None:
            objects_path.write_text(json_text(found.content(source)), encoding="utf-8")
    if as_json:
        places = {"output": str(output), "objects_file": None if objects_file is None else str(objects_file)}
        print_json({**places, **found.content(source, with_masks=False)})
    elif not quiet:
        print_table(["name", "objects", "frames", "best score"], found.rows())
        echo(f"Picture: {output}")
        if objects_file is not None:
            echo(f"Objects: {objects_file}")


class Detections:
    """The frames of a video with what was found on them drawn over them, each when it is asked for. What was found
    stays in `objects`."""

    def __init__(self, pipe, frames, names: list[str], threshold: float, top_k: int | None, masks: bool):
        self.pipe, self.frames, self.names, self.masks = pipe, frames, names, masks
        self.options = {"candidate_labels": names, "threshold": threshold, "top_k": top_k, "masks": True}
        self.objects: list[dict] = []

    def __iter__(self) -> Iterator:
        from PIL import Image
        from transformers.utils import logging

        for frame_idx, frame in enumerate(logging.tqdm(self.frames, desc="detecting", unit="frame")):
            found = self.pipe(Image.fromarray(frame), **self.options)
            self.objects += [_described(each, frame_idx) for each in found]
            yield self._draw(frame, found)

    def _draw(self, frame, found: list[dict]):
        import numpy as np

        from ..visualization import draw_objects

        return draw_objects(
            frame,
            np.array([list(each["box"].values()) for each in found]),
            [f"{each['label']} {each['score']:.2f}" for each in found],
            np.stack([each["mask"] for each in found]) if found and self.masks else None,
            [self.names.index(each["label"]) for each in found],
            min_side=MIN_DRAWN_SIDE,
        )

    def content(self, source: str, with_masks: bool = True) -> dict:
        """All objects, as JSON."""
        hidden = () if with_masks else ("segmentation",)
        rows = [{name: value for name, value in each.items() if name not in hidden} for each in self.objects]
        return {"source": source, "names": self.names, "num_frames": len(self.frames), "objects": rows}

    def rows(self) -> list[list]:
        """Per name: objects, frames with one, and the best score."""
        rows = []
        for name in self.names:
            found = [each for each in self.objects if each["label"] == name]
            best = max((each["score"] for each in found), default=None)
            frames = f"{len({each['frame_idx'] for each in found})}/{len(self.frames)}"
            rows.append([name, len(found), frames, "" if best is None else f"{best:.2f}"])
        return rows


def _described(found: dict, frame_idx: int) -> dict:
    from ..media.rle import encode_rle

    named = {"frame_idx": frame_idx, "label": found["label"], "score": round(found["score"], DECIMALS)}
    return {**named, "box": found["box"], "segmentation": encode_rle(found["mask"])}


def _checked_output(source: str, output: Path | None) -> Path:
    """Where to draw: an image for an image, a video for a video."""
    from ..media.video_sources import is_frame

    is_image = is_frame(source)
    output = output or Path(f"{stem_of(source)}_detected{'.png' if is_image else '.mp4'}")
    suffixes = IMAGE_SUFFIXES + OUTPUT_SUFFIXES
    if output.suffix.lower() not in suffixes:
        raise UserError(f"{output}: is no name of a picture; let it end in {', '.join(suffixes)}")
    return output


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
