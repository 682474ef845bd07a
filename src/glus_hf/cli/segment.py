"""`glus-hf segment`: a video and what to look for, to an overlay video and masks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

import typer

from ..errors import UserError
from ..inference.expression_notes import SAME_AS, UNKNOWN_WORDS
from ..inference.frame_masks import MISSING_FRAMES
from ..output_claim import OutputFile, OutputFolder, claim_outputs
from .options import (
    MB,
    AllowPrivate,
    BatchSize,
    Compat,
    DecodeLimit,
    Device,
    Dtype,
    Json,
    MaxDownload,
    Model,
    NoTargetThreshold,
    Overwrite,
    Selector,
    Threshold,
    decode_limits,
    load_pipeline,
    model_folders,
)
from .output import echo, print_table, set_progress


OUTPUT_SUFFIXES = (".mp4", ".mov", ".webm", ".gif")
DEFAULT_FPS = 12.0


def segment(
    video: Annotated[str, typer.Argument(help="Video or image file, folder of frames, or http(s) address.")],
    texts: Annotated[list[str], typer.Argument(metavar="TEXT...", help="What to segment, in words.")],
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
    selector: Selector = None,
    no_target_threshold: NoTargetThreshold = None,
    device: Device = None,
    dtype: Dtype = "auto",
    compat: Compat = None,
    threshold: Threshold = 0.0,
    batch_size: BatchSize = None,
    max_frames: Annotated[int | None, typer.Option(help="Read only this many frames.")] = None,
    decode_limit: DecodeLimit = None,
    max_download: MaxDownload = 1074,
    allow_private_addresses: AllowPrivate = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No table and no progress bars.")] = False,
) -> None:
    """Segment what each TEXT means in VIDEO; write an overlay video and, if asked, the masks."""
    output = _checked_output(video, output)
    start, limits = _key_frame(key_frame), decode_limits(decode_limit)
    from ..inference.frame_selector import require_selector
    from ..media.download import DownloadOptions
    from ..media.video import load_video

    require_selector(selector, no_target_threshold, [start])
    download = DownloadOptions(max_download * MB, allow_private=allow_private_addresses, progress=not quiet)
    set_progress(quiet)
    outputs = OutputFile(output), None if masks_dir is None else OutputFolder(masks_dir)
    with claim_outputs(*outputs, inputs=[video, *model_folders(model, selector)], overwrite=overwrite) as (
        overlay,
        masks,
    ):
        clip = load_video(video, max_frames, limits, download)
        pipe = load_pipeline(model, device, dtype, compat)
        choice = {"selector": selector, "no_target_threshold": no_target_threshold, "key_frame": start}
        results = pipe(clip, texts, threshold=threshold, batch_size=batch_size, progress=not quiet, **choice)
        _save_overlay(overlay, clip, results)
        if masks is not None:
            _save_masks(masks, results, clip.frame_names)
    if not quiet and not as_json:
        _print_results(results, output, masks_dir)
    if as_json:
        rows = [_summary(result) for result in results]
        masks = None if masks_dir is None else str(masks_dir)
        print(json.dumps({"output": str(output), "masks_dir": masks, "num_frames": len(clip), "expressions": rows}))


def _key_frame(text: str | None) -> int | str | None:
    if text is None or text == "auto":
        return text
    if not text.isdecimal() or len(text) > 12:
        raise UserError(f"--key-frame {text[:40]}: write a number, counted from 0, or auto")
    return int(text)


def _checked_output(video: str, output: Path | None) -> Path:
    """The overlay's path, with a suffix that can be written."""
    output = output or Path(f"{_stem(video)}_segmented.mp4")
    if output.suffix.lower() not in OUTPUT_SUFFIXES:
        raise UserError(f"{output}: cannot write '{output.suffix}' videos; use {', '.join(OUTPUT_SUFFIXES)}")
    return output


def _stem(video: str) -> str:
    """What the overlay of a video is named after: `clip` of `folder/clip.mp4` and of `https://host/clip.mp4?id=1`."""
    is_address = re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", video)
    path = Path(unquote(urlsplit(video).path)) if is_address else Path(video).resolve()
    return path.stem or "video"


def _save_overlay(output: Path, clip, results: list[dict]) -> None:
    """Draw and write frame by frame; a container's impossible frame rate is replaced."""
    import numpy as np

    from ..visualization import draw_overlay, save_overlay

    labels = [result["label"] for result in results]
    masks = [result["masks"] for result in results]
    frames = (
        draw_overlay(frame, np.stack([mask[t] for mask in masks]), labels) for t, frame in enumerate(clip.frames)
    )
    fps = clip.fps if clip.fps and 1 <= clip.fps <= 240 else DEFAULT_FPS
    save_overlay(output, frames, fps)


def _save_masks(folder: Path, results: list[dict], frame_names: list[str]) -> None:
    from ..media.mask_png import save_mask_png

    for index, result in enumerate(results):
        for name, mask in zip(frame_names, result["masks"], strict=True):
            save_mask_png(folder / str(index) / f"{name}.png", mask)


def _summary(result: dict) -> dict:
    return {
        "label": result["label"],
        "frames_with_mask": int(result["masks"].any(axis=(1, 2)).sum()),
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
            echo(f"No answer for {result['label']!r} on frames {result['missing_seg_frames']}: empty masks there")
    echo(f"Overlay: {output}")
    if masks_dir is not None:
        echo(f"Masks: {masks_dir / '<number>' / '<frame>.png'}")
