"""Does the key frame matter? J&F on MotionShapes clips whose target cannot be seen all the time, by where one starts.

    python examples/key_frames_table.py --split test --num-videos 150
    python examples/key_frames_table.py --split reveal --num-videos 40
    python examples/key_frames_table.py --picture docs/images/key_frame.png

On `test` those count whose target enters late or leaves early; on `reveal` frosted glass hides who is who until about
two thirds of the clip. Starts: the first frame, a random one, the selector's, and the oracle's (the frame on which the
masks from the first frame have the largest true IoU). One row per seed of the data and their mean; with them
Spearman's correlation of the selector's scores with the true IoU (0 where the target is not there), over the frames of
each expression, and the part of the gap between first frame and oracle that the selector recovers. A second table says
where the difference comes from: how many key frames show the target at all (in its colours), IoU on the frames that
have it, and how many of the others are rightly left empty.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from transformers.utils import logging

import glus_hf
from glus_hf.data.motion_shapes import generate_clip
from glus_hf.errors import UserError
from glus_hf.inference.frame_selector import key_frames_of, load_selector
from glus_hf.metrics.j_and_f import j_and_f
from glus_hf.metrics.rank_correlation import spearman
from glus_hf.training.samples.pseudo_labels import frame_label
from glus_hf.visualization import contact_sheet, draw_overlay, save_image


STARTS = ("first", "random", "selector", "oracle")
LEAST_GAP = 1.0  # points of J&F; a part of less is noise
TITLES = {
    "hits": "key frames that show the target",
    "shown": "IoU on frames that have it",
    "empty": "other frames left empty",
}


def shown_frames(clip, expression) -> np.ndarray:
    """Which frames show the target and, where glass can hide them, its colours: `[T]`."""
    times = np.linspace(0, 1, len(clip.frames))
    return clip.target_masks(expression).any((1, 2)) & ~clip.scene.is_veiled(times)


def partial_expressions(clip) -> list:
    """Expressions whose target is not to be seen in the first or not in the last frame, but in some."""
    chosen = []
    for expression in clip.expressions:
        shown = shown_frames(clip, expression)
        if shown.any() and not (shown[0] and shown[-1]):
            chosen.append(expression)
    return chosen


def true_ious(masks: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """IoU of each frame, `[T, H, W]` twice -> `[T]`; 0 where the target is not there."""
    return np.array([frame_label(mask, target, 0.0) for mask, target in zip(masks, truth, strict=True)])


def measure(pipe, selector, split: str, seed: int, num_videos: int, size: int) -> dict:
    """Means by start in percent, correlations and counts of one seed."""
    found: dict[str, dict[str, list[float]]] = {name: {start: [] for start in STARTS} for name in ("J&F", *TITLES)}
    correlations, late = [], 0
    for index in logging.tqdm(range(num_videos), desc=f"seed {seed}"):
        clip = generate_clip(index, split=split, seed=seed, size=size)
        expressions = partial_expressions(clip)
        if not expressions:
            continue
        texts = [expression.text for expression in expressions]
        truth = [clip.target_masks(expression) for expression in expressions]
        shown = [shown_frames(clip, expression) for expression in expressions]
        first = [result["masks"] for result in pipe(clip.frames, texts, progress=False)]
        ious = [true_ious(masks, target) for masks, target in zip(first, truth, strict=True)]
        scores = selector.score(clip.frames, texts)
        rng = np.random.default_rng([9, seed, index])
        keys = {
            "first": [0] * len(texts),
            "random": rng.integers(len(clip.frames), size=len(texts)).tolist(),
            "selector": key_frames_of(scores),
            "oracle": key_frames_of(ious),
        }
        for start, chosen in keys.items():
            masks = first if start == "first" else segment(pipe, clip.frames, texts, chosen)
            found["hits"][start] += [bool(row[frame]) for row, frame in zip(shown, chosen, strict=True)]
            for mask, target in zip(masks, truth, strict=True):
                there = target.any((1, 2))
                found["J&F"][start].append(j_and_f(mask, target)["j_and_f"])
                found["shown"][start].append(true_ious(mask, target)[there].mean())
                if not there.all():
                    found["empty"][start].append((~mask.any((1, 2)))[~there].mean())
        correlations += [spearman(row, iou) for row, iou in zip(scores, ious, strict=True)]
        late += sum(not row[0] for row in shown)
    return {
        **{name: {start: percent(values) for start, values in by.items()} for name, by in found.items()},
        "spearman": mean([value for value in correlations if value is not None]),
        "expressions": len(found["J&F"]["first"]),
        "late": late,
        "seed": seed,
    }


def segment(pipe, frames: np.ndarray, texts: list[str], key_frames: list[int]) -> list[np.ndarray]:
    return [result["masks"] for result in pipe(frames, texts, key_frame=key_frames, progress=False)]


def mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def percent(values: list[float]) -> float | None:
    return 100 * float(np.mean(values)) if values else None


def recovered(row: dict) -> float | None:
    """Part of the gap between first frame and oracle; None where there is hardly one."""
    first, selector, oracle = (row["J&F"][start] for start in ("first", "selector", "oracle"))
    if first is None:  # no expression counts
        return None
    return (selector - first) / (oracle - first) if oracle - first >= LEAST_GAP else None


def average(rows: list[dict]) -> dict:
    """Means over the seeds."""
    known = lambda values: [value for value in values if value is not None]
    return {
        **{
            name: {start: mean(known([row[name][start] for row in rows])) for start in STARTS}
            for name in ("J&F", *TITLES)
        },
        "spearman": mean(known([row["spearman"] for row in rows])),
        "expressions": sum(row["expressions"] for row in rows),
        "late": sum(row["late"] for row in rows),
        "seed": "all",
    }


def show(rows: list[dict]) -> str:
    """The tables in Markdown."""
    lines = ["| seed | expressions (seen late) | " + " | ".join(STARTS) + " | gap recovered | Spearman |"]
    lines.append("|" + " --- |" * (len(STARTS) + 4))
    number = lambda value, form=".1f": "-" if value is None else format(value, form)
    for row in rows:
        cells = [
            row["seed"],
            f"{row['expressions']} ({row['late']})",
            *(number(row["J&F"][start]) for start in STARTS),
        ]
        cells += [number(recovered(row), ".0%"), number(row["spearman"], ".2f")]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    lines += ["", "| all seeds | " + " | ".join(STARTS) + " |", "|" + " --- |" * (len(STARTS) + 1)]
    for name, title in TITLES.items():
        lines.append(f"| {title} | " + " | ".join(number(rows[-1][name][start]) for start in STARTS) + " |")
    return "\n".join(lines)


def draw_key_frame(pipe, selector, path: Path, index: int = 3) -> None:
    """Five frames of a clip that is veiled at first, segmented from the first frame on and from the selector's."""
    clip, tiles, captions = generate_clip(index, "reveal"), [], []
    text = clip.expressions[0].text
    (scores,) = selector.score(clip.frames, [text])
    key = key_frames_of(scores[None])[0]
    frames = np.linspace(0, len(clip.frames) - 1, 5).round().astype(int)
    for start in (0, key):
        (masks,) = segment(pipe, clip.frames, [text], [start])
        for frame in frames:
            tiles.append(draw_overlay(clip.frames[frame], masks[frame], min_side=384))
            captions.append(f"frame {frame}, from 0" if start == 0 else f"frame {frame}, score {scores[frame]:.2f}")
    save_image(path, contact_sheet(tiles, columns=5, captions=captions, tile_width=240))
    print(f"{path}: {text!r}, from the first frame (above) and from frame {key} (below)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="glus-tiny")
    parser.add_argument("--selector", default="glus-selector-tiny")
    parser.add_argument("--split", default="test", choices=["validation", "test", "test_held_out", "reveal"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--num-videos", type=int, default=150, help="clips looked at per seed; about a third count")
    parser.add_argument("--size", type=int, default=128, help="side of the frames in pixels")
    parser.add_argument("--device", default=None)
    parser.add_argument("--picture", type=Path, help="draw what a key frame does into this file instead")
    args = parser.parse_args()
    try:
        run(args)
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")


def run(args: argparse.Namespace) -> None:
    pipe = glus_hf.pipeline(model=args.model, device=args.device)
    selector = load_selector(args.selector, device=args.device)
    if args.picture:
        return draw_key_frame(pipe, selector, args.picture)
    rows = [measure(pipe, selector, args.split, seed, args.num_videos, args.size) for seed in args.seeds]
    rows.append(average(rows))
    print(show(rows))
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
