"""Does the key frame matter? J&F on MotionShapes clips whose target enters late or leaves early, by where one starts.

    python examples/key_frames_table.py --model glus-tiny --selector runs/selector/glus-selector-tiny --num-videos 150

Starts: the first frame, a random one, the selector's, and the oracle's (the frame on which the masks from the first
frame have the largest true IoU). One row per seed of the data and their mean; with them Spearman's correlation of the
selector's scores with the true IoU (0 where the target is not there), over the frames of each expression, and the
part of the gap between first frame and oracle that the selector recovers. A second table says where the difference
comes from: how many key frames show the target at all, IoU on the frames that show it, and how many of the others are
rightly left empty.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
from transformers.utils import logging

import glus_hf
from glus_hf.data.motion_shapes import generate_clip
from glus_hf.evaluation.j_and_f import j_and_f
from glus_hf.evaluation.rank_correlation import spearman
from glus_hf.pipelines.frame_selector import key_frames_of, load_selector
from glus_hf.training.pseudo_labels import frame_label


STARTS = ("first", "random", "selector", "oracle")
LEAST_GAP = 1.0  # points of J&F; a part of less is noise


def partial_expressions(clip) -> list:
    """Expressions whose target is not in the first or not in the last frame, but in some."""
    chosen = []
    for expression in clip.expressions:
        there = clip.target_masks(expression).any((1, 2))
        if there.any() and not (there[0] and there[-1]):
            chosen.append(expression)
    return chosen


def true_ious(masks: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """IoU of each frame, `[T, H, W]` twice -> `[T]`; 0 where the target is not there."""
    return np.array([frame_label(mask, target, 0.0) for mask, target in zip(masks, truth, strict=True)])


def measure(pipe, selector, split: str, seed: int, num_videos: int, size: int) -> dict:
    """J&F by start in percent, correlations and counts of one seed."""
    scores: dict[str, list[float]] = {start: [] for start in STARTS}
    hits: dict[str, list[float]] = {start: [] for start in STARTS}
    shown: dict[str, list[float]] = {start: [] for start in STARTS}
    empty: dict[str, list[float]] = {start: [] for start in STARTS}
    correlations, late = [], 0
    for index in logging.tqdm(range(num_videos), desc=f"seed {seed}"):
        clip = generate_clip(index, split=split, seed=seed, size=size)
        expressions = partial_expressions(clip)
        if not expressions:
            continue
        texts = [expression.text for expression in expressions]
        truth = [clip.target_masks(expression) for expression in expressions]
        rng = np.random.default_rng([9, seed, index])
        first = pipe(clip.frames, texts)
        ious = [true_ious(result["masks"], target) for result, target in zip(first, truth, strict=True)]
        found = selector.score(clip.frames, texts)
        keys = {
            "random": rng.integers(len(clip.frames), size=len(texts)).tolist(),
            "selector": key_frames_of(found),
            "oracle": key_frames_of(ious),
        }
        for start, chosen in {"first": [0] * len(texts), **keys}.items():
            hits[start] += [100 * bool(target[frame].any()) for frame, target in zip(chosen, truth, strict=True)]
        results = {"first": first} | {start: pipe(clip.frames, texts, key_frame=key) for start, key in keys.items()}
        for start, masks in results.items():
            values = [j_and_f(one["masks"], target)["j_and_f"] for one, target in zip(masks, truth, strict=True)]
            scores[start] += [100 * value for value in values]
            for one, target in zip(masks, truth, strict=True):
                there = target.any((1, 2))
                shown[start].append(100 * true_ious(one["masks"], target)[there].mean())
                empty[start].append(100 * (~one["masks"].any((1, 2)))[~there].mean())
        correlations += [spearman(row, iou) for row, iou in zip(found, ious, strict=True)]
        late += sum(not target[0].any() for target in truth)
    known = [value for value in correlations if value is not None]
    means = {start: float(np.mean(values)) for start, values in scores.items()}
    gap = means["oracle"] - means["first"]
    return {
        **means,
        "recovered": (means["selector"] - means["first"]) / gap if gap >= LEAST_GAP else None,
        "spearman": float(np.mean(known)) if known else None,
        "expressions": len(scores["first"]),
        "late": late,
        "hits": {start: float(np.mean(values)) for start, values in hits.items()},
        "shown": {start: float(np.mean(values)) for start, values in shown.items()},
        "empty": {start: float(np.mean(values)) for start, values in empty.items()},
        "seed": seed,
    }


def average(rows: list[dict]) -> dict:
    """Means over the seeds; what is recovered, of the mean gap."""
    means = {start: float(np.mean([row[start] for row in rows])) for start in STARTS}
    gap = means["oracle"] - means["first"]
    known = [row["spearman"] for row in rows if row["spearman"] is not None]
    return {
        **means,
        "recovered": (means["selector"] - means["first"]) / gap if gap >= LEAST_GAP else None,
        "spearman": float(np.mean(known)) if known else None,
        "expressions": sum(row["expressions"] for row in rows),
        "late": sum(row["late"] for row in rows),
        **{
            name: {start: float(np.mean([row[name][start] for row in rows])) for start in STARTS}
            for name in ("hits", "shown", "empty")
        },
        "seed": "all",
    }


def show(rows: list[dict]) -> str:
    """The table in Markdown."""
    lines = ["| seed | expressions (enter late) | " + " | ".join(STARTS) + " | gap recovered | Spearman |"]
    lines.append("|" + " --- |" * (len(STARTS) + 4))
    number = lambda value, form: "-" if value is None else format(value, form)
    for row in rows:
        cells = [row["seed"], f"{row['expressions']} ({row['late']})", *(f"{row[start]:.1f}" for start in STARTS)]
        cells += [number(row["recovered"], ".0%"), number(row["spearman"], ".2f")]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    lines += ["", "| all seeds | " + " | ".join(STARTS) + " |", "|" + " --- |" * (len(STARTS) + 1)]
    titles = {
        "hits": "key frames that show the target",
        "shown": "IoU where it is",
        "empty": "other frames left empty",
    }
    for name, title in titles.items():
        lines.append(f"| {title} | " + " | ".join(f"{rows[-1][name][start]:.1f}" for start in STARTS) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="glus-tiny")
    parser.add_argument("--selector", required=True)
    parser.add_argument("--split", default="test", choices=["validation", "test", "test_held_out"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--num-videos", type=int, default=150, help="clips looked at per seed; about a third count")
    parser.add_argument("--size", type=int, default=128, help="side of the frames in pixels")
    parser.add_argument("--device", default=None)
    args = parser.parse_args()
    pipe = glus_hf.pipeline(model=args.model, device=args.device)
    selector = load_selector(args.selector, device=args.device)
    rows = [measure(pipe, selector, args.split, seed, args.num_videos, args.size) for seed in args.seeds]
    rows.append(average(rows))
    print(show(rows))
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
