"""`glus-hf demo`: segment a generated clip and compare with the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..output_claim import OutputFolder, claim_outputs
from .options import Json, load_pipeline
from .output import echo, print_json


DEMO_FPS, DEMO_SIZE, DEMO_FRAMES = 8, 128, 16
DEMO_SIDE = 384  # of the drawn pictures, in pixels
DEMO_FILES = {
    "video": "video.mp4",
    "overlay": "overlay.mp4",
    "gif": "overlay.gif",
    "contact_sheet": "contact_sheet.png",
}


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path("glus_demo"),
    seed: Annotated[int, typer.Option(min=0, help="Picks the clip.")] = 0,
    as_json: Json = False,
) -> None:
    """Generate a clip of moving shapes, segment it by its expression and compare with the truth.

    The output of an earlier demo is replaced.
    """
    clip, expression = demo_clip(seed)
    with claim_outputs(OutputFolder(output), overwrite=True) as (folder,):
        scores = _write_demo(folder, clip, expression)
    files = {name: output / file for name, file in DEMO_FILES.items()}
    if as_json:
        paths = {name: str(file) for name, file in files.items()}
        print_json({**scores, "expression": expression.text, **paths})
    else:
        _print_demo(expression.text, scores, files)


def _write_demo(folder: Path, clip, expression) -> dict[str, float]:
    """Write all files of the demo; the scores of its masks."""
    from ..media.video import load_video, write_video
    from ..metrics.j_and_f import j_and_f
    from ..visualization import overlay_video, save_image, save_overlay

    files = {name: folder / file for name, file in DEMO_FILES.items()}
    truth = clip.target_masks(expression)
    write_video(files["video"], clip.frames, DEMO_FPS)
    # from here on, only what a user has: the file and the expression
    result = load_pipeline("glus-tiny", None, "auto")(str(files["video"]), expression.text, progress=True)
    frames = load_video(files["video"]).frames
    drawn = overlay_video(frames, result["masks"][None], [expression.text], min_side=DEMO_SIDE)
    save_overlay(files["overlay"], drawn, DEMO_FPS)
    save_overlay(files["gif"], drawn, DEMO_FPS)
    save_image(files["contact_sheet"], _side_by_side(expression.text, frames, result["masks"], truth))
    return j_and_f(result["masks"], truth)


def demo_clip(seed: int):
    """The first clip of this seed with an expression that tells look-alikes apart by their motion; both."""
    from itertools import count

    from ..data.motion_shapes import generate_clip

    for index in count():
        clip = generate_clip(index, split="test", seed=seed, size=DEMO_SIZE, num_frames=DEMO_FRAMES)
        for expression in clip.expressions:
            look = expression.filter.shape and expression.filter.color
            if look and expression.kind in ("motion", "conjunction"):
                return clip, expression


def _side_by_side(text: str, frames: list, masks, truth):
    """A contact sheet of pairs under the expression: prediction beside truth, with J of the frame."""
    import numpy as np

    from ..metrics.j_and_f import region_similarity
    from ..visualization import contact_sheet, draw_overlay

    pairs, captions = [], []
    for index, (frame, mask, target) in enumerate(zip(frames, masks, truth, strict=True)):
        gap = np.full((DEMO_SIDE, 6, 3), 255, dtype=np.uint8)
        found, true = (draw_overlay(frame, drawn, min_side=DEMO_SIDE) for drawn in (mask, target))
        pairs.append(np.concatenate([found, gap, true], axis=1))
        captions.append(f"frame {index}: prediction | truth, J {100 * region_similarity(mask, target):.0f}")
    return contact_sheet(pairs, columns=2, max_frames=8, captions=captions, tile_width=560, title=text)


def _print_demo(text: str, scores: dict, files: dict) -> None:
    percent = {name: f"{100 * value:.1f}" for name, value in scores.items()}
    echo(f"Expression: {text}")
    echo(f"J&F against the known truth: {percent['j_and_f']} (J {percent['j']}, F {percent['f']})")
    for name, file in files.items():
        echo(f"{name.replace('_', ' ').capitalize()}: {file}")
