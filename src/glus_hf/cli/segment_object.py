"""`glus-hf segment-object`: an image and points, boxes, lines or masks of objects, to their masks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError
from ..json_text import json_text
from ..model_families import PROMPT_TASK
from ..output_claim import OutputFile, claim_outputs
from .detect import IMAGE_SUFFIXES
from .detect_frames import DECIMALS, MIN_DRAWN_SIDE
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
from .prompt_options import Boxes, Points, gather_prompts, read_boxes, read_points
from .segment import stem_of


SCORES = ("confidence", "text")


def segment_object(
    source: Annotated[str, typer.Argument(metavar="IMAGE", help="Image file or http(s) address.")],
    points: Points = None,
    boxes: Boxes = None,
    scribbles: Annotated[
        list[Path] | None,
        typer.Option(
            "--scribble", metavar="FILE", help="Image with lines on objects, a colour for each, on black; repeatable."
        ),
    ] = None,
    masks: Annotated[
        list[Path] | None,
        typer.Option("--mask", metavar="FILE", help="Image with masks of objects, a value for each; repeatable."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Picture: .png, .jpg or .webp. Default: IMAGE_objects.png here."),
    ] = None,
    ids_file: Annotated[
        Path | None, typer.Option("--ids", help="Write a palette PNG: 0, or the number of the object, from 1.")
    ] = None,
    objects_file: Annotated[
        Path | None, typer.Option("--objects", help="Write all objects as JSON: score, box, and mask as COCO's RLE.")
    ] = None,
    model: Model = "glee-tiny",
    score: Annotated[
        str, typer.Option(help="What chooses the answer: confidence, or text, as in the original demo.")
    ] = "confidence",
    device: Device = None,
    dtype: Dtype = "auto",
    decode_limit: DecodeLimit = None,
    max_download: MaxDownload = 1074,
    allow_private_addresses: AllowPrivate = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No table and no progress bars.")] = False,
) -> None:
    """Segment the objects of IMAGE that points, boxes, lines or masks mean; each is an object of its own.

    For example: glus-hf segment-object street.jpg --point 120,80 --box 10,40,90,200 -o objects.png
    """
    output, limits = _checked_output(source, output, ids_file), decode_limits(decode_limit)
    if score not in SCORES:
        raise UserError(f"--score {score:.80} is unknown; use {' or '.join(SCORES)}")
    point_lists, box_list = read_points(points), read_boxes(boxes)
    from ..media.download import DownloadOptions
    from ..media.video_sources import as_local

    download = DownloadOptions(max_download * MB, allow_private=allow_private_addresses, progress=not quiet)
    set_progress(quiet)
    drawn = [*(scribbles or ()), *(masks or ())]
    outputs = [None if path is None else OutputFile(path) for path in (output, ids_file, objects_file)]
    with (
        claim_outputs(*outputs, inputs=[source, *drawn, *model_folders(model)], overwrite=overwrite) as places,
        as_local(source, download) as local,
    ):
        frame = _read_image(local, source, limits)
        calls = gather_prompts(frame.shape[:2], point_lists, box_list, scribbles or (), masks or ())
        _check_count(sum(len(call.names) for call in calls), ids_file)
        pipe = load_pipeline(model, device, dtype, task=PROMPT_TASK)
        found = _segment(pipe, frame, calls, score)
        _save(places, frame, found, source)
    if as_json:
        names = [None if path is None else str(path) for path in (output, ids_file, objects_file)]
        named = dict(zip(("output", "ids_file", "objects_file"), names, strict=True))
        print_json({**named, **content(source, found, with_masks=False)})
    elif not quiet:
        print_table(["object", "prompt", "score", "pixels"], [_row(*each) for each in enumerate(found, 1)])
        for name, path in zip(("Picture", "Ids", "Objects"), (output, ids_file, objects_file), strict=True):
            if path is not None:
                echo(f"{name}: {path}")


def _checked_output(source: str, output: Path | None, ids_file: Path | None) -> Path:
    output = output or Path(f"{stem_of(source)}_objects.png")
    if output.suffix.lower() not in IMAGE_SUFFIXES:
        raise UserError(f"{output}: is no name of an image; let it end in {', '.join(IMAGE_SUFFIXES)}")
    if ids_file is not None and ids_file.suffix.lower() != ".png":
        raise UserError(f"{ids_file}: numbers of objects are written as PNG; let it end in .png")
    return output


def _check_count(count: int, ids_file: Path | None) -> None:
    from ..media.drawn_objects import MAX_OBJECTS

    if ids_file is not None and count > MAX_OBJECTS:
        raise UserError(f"{ids_file}: holds {MAX_OBJECTS} objects, not {count}; use --objects")


def _read_image(local, source: str, limits):
    """`[height, width, 3]`, uint8."""
    from ..media.video import load_video

    clip = load_video(local, 2, limits)
    if len(clip) > 1:
        raise UserError(f"{source}: is a video; follow objects through it with glus-hf track")
    return clip.frames[0]


def _segment(pipe, frame, calls, score: str) -> list[dict]:
    """An object per prompt: its kind, score, box and mask."""
    from PIL import Image

    image, objects = Image.fromarray(frame), []
    for call in calls:
        found = pipe(image, score_source=score, **call.arguments)
        columns = zip(call.names, found["scores"], found["boxes"], found["masks"], strict=True)
        objects += [dict(zip(("prompt", "score", "box", "mask"), column, strict=True)) for column in columns]
    return objects


def content(source: str, objects: list[dict], with_masks: bool = True) -> dict:
    """All objects, as JSON."""
    from ..media.rle import encode_rle

    rows = []
    for number, each in enumerate(objects, 1):
        box = [round(side, 1) for side in each["box"]]
        row = {"id": number, "prompt": each["prompt"], "score": round(each["score"], DECIMALS), "box": box}
        row["area"] = int(each["mask"].sum())
        rows.append({**row, "segmentation": encode_rle(each["mask"])} if with_masks else row)
    return {"source": source, "objects": rows}


def _row(number: int, found: dict) -> list:
    return [number, found["prompt"], f"{found['score']:.2f}", int(found["mask"].sum())]


def _save(places: list[Path | None], frame, objects: list[dict], source: str) -> None:
    import numpy as np

    from ..predictions.id_png import number_by_ids, save_id_png
    from ..visualization import draw_objects, save_image

    picture, ids_file, objects_file = places
    boxes = np.array([each["box"] for each in objects])
    texts = [f"{each['prompt']} {each['score']:.2f}" for each in objects]
    save_image(
        picture,
        draw_objects(frame, boxes, texts, np.stack([each["mask"] for each in objects]), min_side=MIN_DRAWN_SIDE),
    )
    if ids_file is not None:
        save_id_png(ids_file, number_by_ids({number: each["mask"] for number, each in enumerate(objects, 1)}))
    if objects_file is not None:
        objects_file.write_text(json_text(content(source, objects)), encoding="utf-8")


__all__ = ["segment_object"]
