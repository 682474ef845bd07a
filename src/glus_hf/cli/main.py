"""Command line: `glus-hf segment | demo | info`, and the commands of the other cli_*.py files.

Heavy imports happen inside the commands, so `--help` is fast.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError
from . import convert as cli_convert
from . import data as cli_data
from . import evaluate as cli_evaluate
from . import pseudo_label as cli_pseudo_label
from . import score as cli_score
from .options import DTYPES, load_pipeline
from .output import one_line_errors, print_table, set_progress, stop, writable


OUTPUT_SUFFIXES = (".mp4", ".mov", ".webm", ".gif")
DEFAULT_FPS = 12.0
DEMO_FPS, DEMO_SIZE, DEMO_FRAMES = 8, 128, 16

app = typer.Typer(
    help="Referring video segmentation: describe an object in words, get its mask in every frame.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of stdout.")]
Model = Annotated[str, typer.Option(help="Packaged model, folder or Hub name.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps, ...; by default the first accelerator.")]
Dtype = Annotated[str, typer.Option(help=f"Precision of the weights: {', '.join(DTYPES)}.")]


def main() -> None:
    """Entry point of the `glus-hf` command."""
    try:
        app()
    except KeyboardInterrupt:
        stop("Interrupted", 130)


@app.command()
@one_line_errors
def segment(
    video: Annotated[Path, typer.Argument(help="Video file or folder of frames.")],
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
    selector: Annotated[str | None, typer.Option(help="Packaged selector, folder or Hub name.")] = None,
    no_target_threshold: Annotated[
        float | None, typer.Option(help="Empty masks where selector score x mask score is below it.")
    ] = None,
    device: Device = None,
    dtype: Dtype = "auto",
    compat: Annotated[
        str | None, typer.Option(help="Compute as: released (default), evaluation-script or paper.")
    ] = None,
    max_frames: Annotated[int | None, typer.Option(help="Read only this many frames.")] = None,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No table and no progress bars.")] = False,
) -> None:
    """Segment what each TEXT means in VIDEO; write an overlay video and, if asked, the masks."""
    output = _checked_output(video, output)
    start = _key_frame(key_frame)
    from ..inference.frame_selector import require_selector
    from ..media.video import load_video

    require_selector(selector, no_target_threshold, [start])
    set_progress(quiet)
    clip = load_video(video, max_frames)
    pipe = load_pipeline(model, device, dtype, compat)
    choice = {"selector": selector, "no_target_threshold": no_target_threshold}
    results = pipe(clip, texts, key_frame=start, progress=not quiet, **choice)
    _save_overlay(output, clip, results)
    if masks_dir is not None:
        _save_masks(masks_dir, results, clip.frame_names)
    if not quiet and not as_json:
        _print_results(results, output, masks_dir)
    if as_json:
        rows = [_summary(result) for result in results]
        masks = None if masks_dir is None else str(masks_dir)
        print(json.dumps({"output": str(output), "masks_dir": masks, "num_frames": len(clip), "expressions": rows}))


@app.command()
@one_line_errors
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path("glus_demo"),
    seed: Annotated[int, typer.Option(min=0, help="Picks the clip.")] = 0,
    as_json: Json = False,
) -> None:
    """Generate a clip of moving shapes, segment it by its sentence and compare with the truth."""
    from ..media.video import load_video, write_video
    from ..metrics.j_and_f import j_and_f
    from ..visualization import overlay_video, save_image, save_overlay

    clip, expression = _demo_clip(seed)
    writable(output / "overlay.mp4")
    truth = clip.target_masks(expression)
    files = {name: output / f"{name}.mp4" for name in ("video", "overlay")}
    files |= {"gif": output / "overlay.gif", "contact_sheet": output / "contact_sheet.png"}
    write_video(files["video"], clip.frames, DEMO_FPS)
    # from here on, only what a user has: the file and the sentence
    result = load_pipeline("glus-tiny", None, "auto")(str(files["video"]), expression.text, progress=True)
    scores = j_and_f(result["masks"], truth)
    frames = load_video(files["video"]).frames
    drawn = overlay_video(frames, result["masks"][None], [expression.text])
    save_overlay(files["overlay"], drawn, DEMO_FPS)
    save_overlay(files["gif"], drawn, DEMO_FPS)
    save_image(files["contact_sheet"], _side_by_side(frames, result["masks"], truth))
    if as_json:
        paths = {name: str(file) for name, file in files.items()}
        print(json.dumps({**scores, "expression": expression.text, **paths}))
    else:
        _print_demo(expression.text, scores, files)


@app.command()
@one_line_errors
def info(
    model: Annotated[str | None, typer.Option(help="Also summarise this model.")] = None,
) -> None:
    """Print versions, devices, packaged models and, with --model, a summary of that model."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import torch

    from .. import __version__
    from ..hub import PACKAGED

    rows = [("glus-hf", __version__), ("python", platform.python_version())]
    for package in ("torch", "transformers", "accelerate", "peft", "datasets", "huggingface-hub", "av", "numpy"):
        try:
            rows.append((package, version(package)))
        except PackageNotFoundError:
            rows.append((package, "not installed"))
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    names += ["mps"] if torch.backends.mps.is_available() else []
    rows += [("devices", ", ".join(["cpu", *names])), ("packaged models", ", ".join(PACKAGED))]
    print_table(["", ""], rows)
    if model is not None:
        print_table(["part", "parameters", "as stored"], _model_rows(model))


# --- segment -------------------------------------------------------------------------------------------------------


def _key_frame(text: str | None) -> int | str | None:
    if text is None or text == "auto":
        return text
    if not text.isdecimal():
        raise UserError(f"--key-frame {text}: write a number, counted from 0, or auto")
    return int(text)


def _checked_output(video: Path, output: Path | None) -> Path:
    """The overlay's path, refused before the long work if it cannot be written."""
    output = output or Path(f"{video.resolve().stem}_segmented.mp4")
    if output.suffix.lower() not in OUTPUT_SUFFIXES:
        raise UserError(f"{output}: cannot write '{output.suffix}' videos; use {', '.join(OUTPUT_SUFFIXES)}")
    if output.exists() and video.exists() and os.path.samefile(output, video):
        raise UserError(f"{output}: is the input itself; choose another output")
    return writable(output)


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
        "missing_seg_frames": result["missing_seg_frames"],
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
            print(
                f"Started {result['label']!r} from frame {result['key_frame']}, confidence {result['confidence']:.2f}"
            )
        if result.get("no_target"):
            print(f"Nothing fits {result['label']!r}: empty masks")
        if result["missing_seg_frames"]:
            print(f"No answer for {result['label']!r} on frames {result['missing_seg_frames']}: empty masks there")
    print(f"Overlay: {output}")
    if masks_dir is not None:
        print(f"Masks: {masks_dir / '<number>' / '<frame>.png'}")


# --- demo ----------------------------------------------------------------------------------------------------------


def _demo_clip(seed: int):
    """The first clip of this seed with a sentence that tells look-alikes apart by their motion, and that sentence."""
    from itertools import count

    from ..data.motion_shapes import generate_clip

    for index in count():
        clip = generate_clip(index, split="test", seed=seed, size=DEMO_SIZE, num_frames=DEMO_FRAMES)
        for expression in clip.expressions:
            look = expression.filter.shape and expression.filter.color
            if look and expression.kind in ("motion", "conjunction"):
                return clip, expression


def _side_by_side(frames: list, masks, truth):
    """A contact sheet of pairs: prediction beside truth, with J of the frame."""
    import numpy as np

    from ..metrics.j_and_f import region_similarity
    from ..visualization import contact_sheet, draw_overlay

    pairs, captions = [], []
    for index, (frame, mask, target) in enumerate(zip(frames, masks, truth, strict=True)):
        gap = np.full((DEMO_SIZE * 3, 6, 3), 255, dtype=np.uint8)
        pairs.append(np.concatenate([draw_overlay(frame, mask), gap, draw_overlay(frame, target)], axis=1))
        captions.append(f"frame {index}: prediction | truth, J {100 * region_similarity(mask, target):.0f}")
    return contact_sheet(pairs, columns=2, max_frames=8, captions=captions, tile_width=560)


def _print_demo(text: str, scores: dict, files: dict) -> None:
    percent = {name: f"{100 * value:.1f}" for name, value in scores.items()}
    print(f"Expression: {text}")
    print(f"J&F against the known truth: {percent['j_and_f']} (J {percent['j']}, F {percent['f']})")
    for name, file in files.items():
        print(f"{name.replace('_', ' ').capitalize()}: {file}")


# --- info ----------------------------------------------------------------------------------------------------------


def _model_rows(name: str) -> list[tuple[str, str, str]]:
    """Parameters and bytes of each part and of the whole. Weights are not read."""
    import torch
    from transformers import AutoConfig, AutoModel

    from ..model_families import ALL_FAMILIES
    from ..models.checkpoint_loading import check_checkpoint, resolve_name

    folder = resolve_name(name)
    check_checkpoint(folder, list(ALL_FAMILIES))
    config = AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = AutoModel.from_config(config, dtype=config.dtype)
    base = model.base_model
    parts = [*base.named_children(), *[part for part in model.named_children() if part[1] is not base]]
    return [_part_row(*part) for part in parts if any(True for _ in part[1].parameters())] + [_part_row("all", model)]


def _part_row(name: str, module) -> tuple[str, str, str]:
    parameters = list(module.parameters())
    megabytes = sum(parameter.numel() * parameter.element_size() for parameter in parameters) / 1e6
    return name, f"{sum(parameter.numel() for parameter in parameters):,}", f"{megabytes:,.1f} MB"


# --- commands of other files ---------------------------------------------------------------------------------------

for command in (
    cli_convert.convert,
    cli_convert.export,
    cli_evaluate.evaluate,
    cli_score.score,
    cli_pseudo_label.pseudo_label,
):
    app.command()(one_line_errors(command))
app.add_typer(cli_data.app, name="data")


if __name__ == "__main__":
    main()
