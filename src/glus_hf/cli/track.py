"""`glus-hf track`: a video and masks, boxes or points of objects on some frames, to their masks on all frames."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError
from ..output_claim import OutputFile, OutputFolder, claim_outputs
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
from .prompt_options import read_boxes, read_points
from .segment import OUTPUT_SUFFIXES, save_results_overlay, stem_of


AT_FRAME = re.compile(r"(\d{1,9})=(.*)", re.DOTALL)

Reference = Annotated[
    str,
    typer.Option(
        help="What tells an object: first (its newest prompt), previous (the frame before) or first+previous."
    ),
]


def track(
    video: Annotated[str, typer.Argument(metavar="VIDEO", help="Video file, folder of frames, or http(s) address.")],
    masks: Annotated[
        list[str] | None,
        typer.Option(
            "--masks",
            metavar="[FRAME=]FILE",
            help="Image whose values are the ids of objects, on frame 0, or on FRAME; repeatable.",
        ),
    ] = None,
    points: Annotated[
        list[str] | None,
        typer.Option("--point", metavar="[FRAME=]X,Y", help="A pixel of one more object; repeatable."),
    ] = None,
    boxes: Annotated[
        list[str] | None,
        typer.Option("--box", metavar="[FRAME=]X0,Y0,X1,Y1", help="Box around one more object; repeatable."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Overlay: .mp4, .mov, .webm or .gif. Default: VIDEO_tracked.mp4 here."),
    ] = None,
    ids_dir: Annotated[
        Path | None, typer.Option(help="Write palette PNGs as DIR/<frame>.png: 0, or the id of the object.")
    ] = None,
    model: Model = "glee-tiny",
    reference: Reference = "first",
    backward: Annotated[
        bool, typer.Option("--backward/--no-backward", help="Go back from the first prompts to the first frame, too.")
    ] = True,
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
    """Follow objects through VIDEO from masks, boxes or points on some of its frames.

    For example: glus-hf track video.mp4 --masks first.png --ids-dir ids
    """
    output, limits = _checked_output(video, output), decode_limits(decode_limit)
    drawn = [split_frame(text) for text in masks or ()]
    marks = _read_marks(points, boxes)
    if not drawn and not marks:
        raise UserError("nothing says which object to follow; pass --masks, --box or --point")
    from ..media.download import DownloadOptions
    from ..media.video import open_video
    from ..media.video_sources import as_local

    download = DownloadOptions(max_download * MB, allow_private=allow_private_addresses, progress=not quiet)
    set_progress(quiet)
    outputs = OutputFile(output), None if ids_dir is None else OutputFolder(ids_dir)
    inputs = [video, *(file for _, file in drawn), *model_folders(model)]
    with (
        claim_outputs(*outputs, inputs=inputs, overwrite=overwrite) as (overlay, ids),
        as_local(video, download) as source,
    ):
        clip = open_video(source, max_frames, limits)
        prompts = gather_prompts((clip.height, clip.width), len(clip), drawn, marks)
        pipe = load_pipeline(model, device, dtype)
        results = _follow(pipe, clip, prompts, reference, backward, not quiet)
        save_results_overlay(overlay, source, clip, results)
        if ids is not None:
            _save_ids(ids, clip, results)
    rows = [
        {"id": each["id"], "frames_with_mask": each["masks"].num_visible, "mean_score": each["score"]}
        for each in results
    ]
    if as_json:
        places = {"output": str(output), "ids_dir": None if ids_dir is None else str(ids_dir)}
        print_json({**places, "num_frames": len(clip), "objects": rows})
    elif not quiet:
        cells = [[row["id"], f"{row['frames_with_mask']}/{len(clip)}", f"{row['mean_score']:.2f}"] for row in rows]
        print_table(["object", "frames with mask", "mean score"], cells)
        echo(f"Overlay: {output}")
        if ids_dir is not None:
            echo(f"Ids: {ids_dir / '<frame>.png'}")


def split_frame(text: str) -> tuple[int, str]:
    """The frame of a prompt, 0 without one, and the prompt.

    Example:
        >>> split_frame("12=late.png"), split_frame("first.png")
        ((12, 'late.png'), (0, 'first.png'))
    """
    match = AT_FRAME.fullmatch(text)
    return (int(match[1]), match[2]) if match else (0, text)


def _read_marks(points: Sequence[str] | None, boxes: Sequence[str] | None) -> list[tuple[int, str, list]]:
    """Frame, kind and values of points and boxes, each of an object of its own."""
    at_points, at_boxes = ([split_frame(text) for text in texts or ()] for texts in (points, boxes))
    marks = [(frame, "points", read_points([text])[0]) for frame, text in at_points]
    return marks + [(frame, "box", read_boxes([text])[0]) for frame, text in at_boxes]


def gather_prompts(size: tuple[int, int], num_frames: int, drawn: list, marks: list) -> list:
    """All prompts; objects of points and boxes are numbered after those of the images.

    Raises:
        UserError: an image cannot be read, or there is no such frame; one line.
    """
    from ..media.drawn_objects import MAX_OBJECTS, read_drawn_objects
    from ..models.video_prompts import VideoPrompt

    for frame in [*(frame for frame, _ in drawn), *(frame for frame, *_ in marks)]:
        if frame >= num_frames:
            raise UserError(f"there is no frame {frame}: the video has {num_frames}, counted from 0")
    prompts = [
        VideoPrompt(frame, object_id, "mask", mask)
        for frame, file in drawn
        for object_id, mask in read_drawn_objects(file, size).items()
    ]
    highest = max((prompt.object_id for prompt in prompts), default=0)
    prompts += [VideoPrompt(frame, highest + n, kind, values) for n, (frame, kind, values) in enumerate(marks, 1)]
    if highest + len(marks) > 255 or len({prompt.object_id for prompt in prompts}) > MAX_OBJECTS:
        raise UserError(f"there are too many objects: their ids must be at most 255, and {MAX_OBJECTS} in all")
    return prompts


def _follow(pipe, clip, prompts: list, reference: str, backward: bool, progress: bool) -> list[dict]:
    """Per object its id, label, masks on all frames and mean score."""
    import numpy as np
    from transformers.utils import logging

    from ..inference.kept_masks import MaskFile
    from ..inference.track_objects import object_ids, open_tracking, track_frames

    session = open_tracking(pipe.model, pipe.processor, clip, prompts)
    ids = object_ids(session)
    kept, scores = MaskFile(len(ids), len(clip), (clip.height, clip.width)), [[] for _ in ids]
    frames = track_frames(pipe.model, pipe.processor, session, reference, backward)
    with logging.tqdm(desc="tracking", unit="mask", disable=not progress) as bar:
        for frame in frames:
            kept.write(frame)
            for index, score in zip(frame.text_indices, frame.scores.tolist(), strict=True):
                scores[index].append(score)
            bar.update(len(frame.text_indices))
    columns = enumerate(zip(ids, scores, strict=True))
    return [
        {"id": name, "label": f"object {name}", "masks": kept.masks(index), "score": round(float(np.mean(own)), 4)}
        for index, (name, own) in columns
    ]


def _checked_output(video: str, output: Path | None) -> Path:
    output = output or Path(f"{stem_of(video)}_tracked.mp4")
    if output.suffix.lower() not in OUTPUT_SUFFIXES:
        raise UserError(f"{output}: is no name of an overlay; let it end in {', '.join(OUTPUT_SUFFIXES)}")
    return output


def _save_ids(folder: Path, clip, results: list[dict]) -> None:
    from ..predictions.id_png import number_by_ids, save_id_png

    for index, name in enumerate(clip.frame_names):
        masks = {result["id"]: result["masks"][index] for result in results}
        save_id_png(folder / f"{name}.png", number_by_ids(masks))


__all__ = ["gather_prompts", "split_frame", "track"]
