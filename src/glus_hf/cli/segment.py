"""`glus-hf segment`: a video and what to look for, to an overlay video and masks."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

import typer

from ..errors import UserError
from ..inference.expression_notes import SAME_AS, UNKNOWN_WORDS
from ..inference.frame_masks import MISSING_FRAMES
from ..output_claim import OutputFile, OutputFolder, claim_outputs
from .engine_notes import fit_mask_size, notice_of, tell_of_footage
from .export_masks import Formats, WithFrames
from .options import (
    MB,
    AllowPrivate,
    BatchSize,
    Compat,
    Compile,
    DecodeLimit,
    Device,
    Dtype,
    FrameStride,
    Json,
    MaskSize,
    MaxDownload,
    Model,
    NoTargetThreshold,
    Overwrite,
    Propagation,
    Sam2Model,
    Selector,
    Threshold,
    Views,
    Window,
    decode_limits,
    load_pipeline,
    model_folders,
    set_propagation,
)
from .output import echo, print_json, print_table, set_progress
from .quick_start import without_collection
from .segment_live import DEFAULT_FPS, STDIN, check_live_options, limited, report, segment_stream


OUTPUT_SUFFIXES = (".mp4", ".mov", ".webm", ".gif")


def segment(
    video: Annotated[
        str,
        typer.Argument(
            metavar="VIDEO",
            help="Video or image file, folder of frames, http(s) address, or - for raw RGB frames on standard input.",
        ),
    ],
    texts: Annotated[list[str], typer.Argument(metavar="TEXT", help="What to segment, in words.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Overlay: .mp4, .mov, .webm or .gif. Default: VIDEO_segmented.mp4 here."),
    ] = None,
    masks_dir: Annotated[
        Path | None, typer.Option(help="Write masks as DIR/<number of the text>/<frame>.png.")
    ] = None,
    model: Model = "glus-tiny",
    key_frame: Annotated[
        str | None,
        typer.Option(help="Frame to start from, counted from 0; auto (with --selector the default): its best frame."),
    ] = None,
    formats: Formats = None,
    export_dir: Annotated[
        Path | None, typer.Option(help="Where --format writes: DIR/<format>. Default: VIDEO_export here.")
    ] = None,
    with_frames: WithFrames = False,
    selector: Selector = None,
    no_target_threshold: NoTargetThreshold = None,
    device: Device = None,
    dtype: Dtype = "auto",
    compat: Compat = None,
    legend: Annotated[bool, typer.Option("--legend/--no-legend", help="Name the colours on the overlay.")] = True,
    threshold: Threshold = 0.0,
    mask_size: MaskSize = None,
    propagation: Propagation = "model",
    sam2_model: Sam2Model = None,
    batch_size: BatchSize = None,
    window: Window = "sliding",
    frame_stride: FrameStride = 1,
    views: Views = "auto",
    compile: Compile = False,
    max_frames: Annotated[int | None, typer.Option(help="Read only this many frames.")] = None,
    size: Annotated[str | None, typer.Option(help="Of -: width and height of the frames, as 640x360.")] = None,
    fps: Annotated[
        float | None, typer.Option(min=0.01, max=1000, help="Of -: frames per second of the overlay.")
    ] = None,
    decode_limit: DecodeLimit = None,
    max_download: MaxDownload = 1074,
    allow_private_addresses: AllowPrivate = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No table and no progress bars.")] = False,
) -> None:
    """Segment what each TEXT means in VIDEO; write an overlay video and, if asked, the masks."""
    whole = {"--key-frame": key_frame, "--selector": selector, "--format": formats}
    whole |= {"--no-target-threshold": no_target_threshold is not None, "--window whole": window == "whole"}
    whole |= {"--propagation": propagation != "model"}
    check_live_options(video, size, fps, output, whole)
    output = _checked_output("stdin" if video == STDIN else video, output)
    names, export_dir = _checked_export(video, formats, export_dir, with_frames)
    start, limits = _key_frame(key_frame), decode_limits(decode_limit)
    with without_collection():
        from ..inference.frame_selector import require_selector
        from ..media.download import DownloadOptions
        from ..media.raw_frames import parse_size, read_raw_frames
        from ..media.video import open_video
        from ..media.video_sources import as_local

    require_selector(selector, no_target_threshold, [start])
    download = DownloadOptions(max_download * MB, allow_private=allow_private_addresses, progress=not quiet)
    set_progress(quiet)
    folders = [masks_dir, export_dir if names else None]
    outputs = OutputFile(output), *(None if folder is None else OutputFolder(folder) for folder in folders)
    inputs = [None if video == STDIN else video, *model_folders(model, selector, sam2_model)]
    if video == STDIN:
        frames = limited(read_raw_frames(sys.stdin.buffer, parse_size(size, limits)), max_frames)
        with claim_outputs(*outputs, inputs=inputs, overwrite=overwrite) as (overlay, masks, _):
            pipe = load_pipeline(model, device, dtype, compat, views=views, compile=compile)
            fit_mask_size(pipe.model, mask_size)
            live = pipe.open_live(texts, threshold=threshold, batch_size=batch_size, frame_stride=frame_stride)
            counts = segment_stream(live, frames, overlay, masks, fps or DEFAULT_FPS, legend, progress=not quiet)
        places = {"output": str(output), "masks_dir": None if masks_dir is None else str(masks_dir)}
        report(counts, live, places, as_json, quiet)
        return
    with (
        claim_outputs(*outputs, inputs=inputs, overwrite=overwrite) as (overlay, masks, export),
        as_local(video, download) as source,
    ):
        clip = open_video(source, max_frames, limits)
        if not quiet:
            tell_of_footage(model, source)
        pipe = load_pipeline(model, device, dtype, compat, views=views, compile=compile)
        fit_mask_size(pipe.model, mask_size)
        set_propagation(pipe, propagation, sam2_model)
        choice = {"selector": selector, "no_target_threshold": no_target_threshold, "key_frame": start}
        choice |= {"threshold": threshold, "batch_size": batch_size, "output": "file"}
        choice |= {"window": window, "frame_stride": frame_stride}
        results, notice = pipe(clip, texts, progress=not quiet, **choice), notice_of(pipe.model)
        del pipe  # what the model took is free for the overlay
        save_results_overlay(overlay, source, clip, results, legend)
        if masks is not None:
            _save_masks(masks, video, results, clip)
        if export is not None:
            _export(export, names, video, results, clip, with_frames)
    if not quiet and not as_json:
        _print_results(results, output, masks_dir)
        if notice:
            echo(notice)
        for name in names:
            echo(f"{name}: {export_dir / name}")
    if as_json:
        rows = [_summary(result) for result in results]
        places = {"output": str(output), "masks_dir": None if masks_dir is None else str(masks_dir)}
        places |= {"notice": notice} if notice else {}
        places["formats"] = {name: str(export_dir / name) for name in names}
        print_json({**places, "num_frames": len(clip), "expressions": rows})


def _key_frame(text: str | None) -> int | str | None:
    if text is None or text == "auto":
        return text
    if not text.isdecimal() or len(text) > 12:
        raise UserError(f"--key-frame {text[:40]}: write a number, counted from 0, or auto")
    return int(text)


def _checked_output(video: str, output: Path | None) -> Path:
    """The overlay's path, with a suffix that can be written."""
    output = output or Path(f"{stem_of(video)}_segmented.mp4")
    if output.suffix.lower() not in OUTPUT_SUFFIXES:
        raise UserError(f"{output}: is no name of an overlay; let it end in {', '.join(OUTPUT_SUFFIXES)}")
    return output


def stem_of(video: str) -> str:
    """What the overlay of a video is named after: `clip` of `folder/clip.mp4` and of `https://host/clip.mp4?id=1`."""
    is_address = re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", video)
    try:
        path = Path(unquote(urlsplit(video).path)) if is_address else Path(os.path.realpath(video))
    except ValueError as error:
        raise UserError(f"{video}: is no valid address ({error}): check it") from None
    return path.stem or "video"


def _checked_export(
    video: str, formats: str | None, export_dir: Path | None, with_frames: bool
) -> tuple[list[str], Path]:
    """Names of the formats, none by default, and their folder."""
    export_dir, is_named = export_dir or Path(f"{_name_of(video)}_export"), export_dir is not None
    if formats is not None:
        from ..predictions.exports.formats import find_formats

        return find_formats(formats), export_dir
    if is_named or with_frames:
        raise UserError("--export-dir and --with-frames belong to --format: name a format, as in --format davis")
    return [], export_dir


def save_results_overlay(output: Path, video: str | Path, clip, results: list[dict], legend: bool = True) -> None:
    """Draw and write frame by frame, with the sound of a file; a container's impossible frame rate is replaced."""
    from ..visualization import OverlayFrames, quiet_edge, save_overlay

    labels = [result["label"] for result in results] if legend else None
    masks = [result["masks"] for result in results]
    frames = OverlayFrames(clip.frames, masks, labels, legend_at_top=quiet_edge(masks))
    has_clock = clip.fps and 1 <= clip.fps <= 240
    # without the video's own clock, its sound would run apart from the pictures
    sound = video if has_clock and Path(video).is_file() else None
    save_overlay(output, frames, clip.fps if has_clock else DEFAULT_FPS, sound)


def _save_masks(folder: Path, video: str, results: list[dict], clip) -> None:
    from ..media.mask_png import save_mask_png
    from ..predictions.exports.mask_folders import write_note

    for index, result in enumerate(results):
        for name, mask in zip(clip.frame_names, result["masks"], strict=True):
            save_mask_png(folder / str(index) / f"{name}.png", mask)
    write_note(folder, _name_of(video), clip.fps, [result["label"] for result in results])


def _export(folder: Path, formats: list[str], video: str, results: list[dict], clip, with_frames: bool) -> None:
    from dataclasses import replace

    from ..media.images import list_images
    from ..predictions.exports.formats import write_formats
    from ..predictions.exports.video_masks import masks_of_results

    frames = clip.frames if with_frames else None
    masks = masks_of_results(results, _name_of(video), clip.frame_names, clip.fps, frames)
    if Path(video).is_dir():  # its images are copied as they are
        files = list_images(Path(video))[: len(clip)]
        masks = replace(masks, suffix=files[0].suffix, frames=files if with_frames else None)
    write_formats(masks, formats, folder)


def _name_of(video: str) -> str:
    """Name of the video in exported files: without suffix, of a folder its last name."""
    return Path(os.path.realpath(video)).name if Path(video).is_dir() else stem_of(video)


def _summary(result: dict) -> dict:
    return {
        "label": result["label"],
        "frames_with_mask": result["masks"].num_visible,
        "mean_score": round(float(result["scores"].mean()), 4),
        MISSING_FRAMES: result[MISSING_FRAMES],
        UNKNOWN_WORDS: result[UNKNOWN_WORDS],
        SAME_AS: result[SAME_AS],
        **{key: result[key] for key in ("key_frame", "no_target") if key in result},
        **({"confidence": round(result["confidence"], 4)} if "confidence" in result else {}),
    }


def _print_results(results: list[dict], output: Path, masks_dir: Path | None) -> None:
    rows = []
    for index, result in enumerate(results):
        summary, total = _summary(result), len(result["masks"])
        frames, score = f"{summary['frames_with_mask']}/{total}", f"{summary['mean_score']:.2f}"
        rows.append([index, result["label"], frames, score])
    print_table(["", "expression", "frames with mask", "mean score"], rows)
    for result in results:
        if "key_frame" in result:
            echo(
                f"Started {result['label']!r} from frame {result['key_frame']}, confidence {result['confidence']:.2f}"
            )
        if result.get("no_target"):
            echo(f"Nothing fits {result['label']!r}: empty masks")
        if result[MISSING_FRAMES]:
            echo(f"No answer for {result['label']!r} on frames {result[MISSING_FRAMES]}: empty masks there")
    echo(f"Overlay: {output}")
    if masks_dir is not None:
        echo(f"Masks: {masks_dir / '<number>' / '<frame>.png'}")
