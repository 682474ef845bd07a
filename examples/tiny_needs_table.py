"""What a model trained on MotionShapes needs: J&F with and without its memory, context frames and the motion words.

    python examples/tiny_needs_table.py --model glus-tiny --seeds 0 1 2 --num-videos 40
    python examples/tiny_needs_table.py --picture docs/images/memory.png

Each is taken away from a finished model, on the clips made to show it: memory on the split `occlusion`, where frosted
glass hides who is who; context frames (the first frame four times instead) and motion words ("the red circle moving
left" becomes "the red circle") on expressions of the split `test` that need their motion words.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from transformers.utils import logging

import glus_hf
from glus_hf.data.motion_shapes import Clip, Expression, generate_clip
from glus_hf.data.motion_shapes.language import phrase
from glus_hf.metrics.j_and_f import j_and_f
from glus_hf.visualization import contact_sheet, draw_overlay, save_image


MOVING = ("motion", "conjunction")


def score(pipe, clips: list[Clip], kinds: tuple[str, ...], say: Callable[[Expression], str], **options) -> float:
    """Mean J&F (percent) of the expressions of some kinds, as put into words by `say`."""
    values = []
    for clip in logging.tqdm(clips, leave=False):
        expressions = [expression for expression in clip.expressions if expression.kind in kinds]
        if expressions:
            results = pipe(clip.frames, [say(expression) for expression in expressions], progress=False, **options)
            pairs = zip(expressions, results, strict=True)
            values += [
                100 * j_and_f(result["masks"], clip.target_masks(expression))["j_and_f"]
                for expression, result in pairs
            ]
    return float(np.mean(values))


def measure(pipe, seed: int, num_videos: int, size: int) -> dict[str, tuple[float, float]]:
    """With and without each part, `{part: (with, without)}`."""
    clips = {
        split: [generate_clip(index, split, seed, size) for index in range(num_videos)]
        for split in ("occlusion", "test")
    }
    config, text = pipe.model.config, lambda expression: expression.text
    told = score(pipe, clips["test"], MOVING, text)
    found = {
        "memory bank, occlusion clips": [score(pipe, clips["occlusion"], ("static",), text)],
        "memory bank, expressions about motion": [told],
        "context frames, expressions about motion": [
            told,
            score(pipe, clips["test"], MOVING, text, context_frames=[0] * 4),
        ],
        "motion words, expressions about motion": [told, score(pipe, clips["test"], MOVING, without_motion)],
    }
    kept, config.num_maskmem = config.num_maskmem, 0
    found["memory bank, occlusion clips"].append(score(pipe, clips["occlusion"], ("static",), text))
    found["memory bank, expressions about motion"].append(score(pipe, clips["test"], MOVING, text))
    config.num_maskmem = kept
    return {part: tuple(values) for part, values in found.items()}


def without_motion(expression: Expression) -> str:
    """The expression's look alone, in words taken from the expression itself."""
    rng = np.random.default_rng(list(expression.text.encode()))
    return phrase(rng, replace(expression.filter, motion=None), len(expression.object_ids))


def table(rows: list[dict[str, tuple[float, float]]]) -> str:
    """Markdown: mean over the seeds (lowest to highest)."""
    lines = ["| J&F | with | without | difference |", "| --- | --- | --- | --- |"]
    for part in rows[0]:
        having, lacking = (np.array([row[part][column] for row in rows]) for column in (0, 1))
        lines.append(f"| {part} | " + " | ".join(map(spread, (having, lacking, having - lacking))) + " |")
    return "\n".join(lines)


def spread(values: np.ndarray) -> str:
    return f"{values.mean():.1f} ({values.min():.1f} to {values.max():.1f})"


def draw_memory(pipe, path: Path, index: int = 3) -> None:
    """Five frames of a veiled clip, segmented with memory (above) and without (below)."""
    clip, tiles, captions = generate_clip(index, "occlusion"), [], []
    kept = pipe.model.config.num_maskmem
    for memories, said in ((kept, "with memory"), (0, "without")):
        pipe.model.config.num_maskmem = memories
        masks = pipe(clip.frames, clip.expressions[0].text)["masks"]
        for frame in np.linspace(0, len(masks) - 1, 5).round().astype(int):
            tiles.append(draw_overlay(clip.frames[frame], masks[frame], min_side=384))
            captions.append(f"frame {frame}, {said}")
    pipe.model.config.num_maskmem = kept
    save_image(path, contact_sheet(tiles, columns=5, captions=captions, tile_width=240))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="glus-tiny")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--num-videos", type=int, default=40, help="clips of each split and seed")
    parser.add_argument("--size", type=int, default=128, help="side of the frames in pixels")
    parser.add_argument("--device", default=None)
    parser.add_argument("--picture", type=Path, help="draw what memory does into this file instead")
    args = parser.parse_args()
    pipe = glus_hf.pipeline(model=args.model, device=args.device)
    if args.picture:
        return draw_memory(pipe, args.picture)
    rows = [measure(pipe, seed, args.num_videos, args.size) for seed in args.seeds]
    print(table(rows))
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
