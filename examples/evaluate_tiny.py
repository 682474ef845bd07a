"""Held-out J&F of a model on MotionShapes by kind of expression, beside what one gets without understanding.

    python examples/evaluate_tiny.py --model glus-tiny --num-videos 100 --seed 0
    python examples/evaluate_tiny.py --no-model --num-videos 100 --seed 1     # the baselines alone, in seconds

The baselines are given the true masks of all shapes and only choose among them: every shape, the largest, all of the
right look (they understand appearance but not motion), and one of the right look.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
from transformers.utils import logging

import glus_hf
from glus_hf.data.motion_shapes import KINDS, Clip, Expression, generate_clip
from glus_hf.data.motion_shapes.language import Filter
from glus_hf.metrics.j_and_f import j_and_f


BASELINES = ("every shape", "largest shape", "all of that look", "one of that look")


def baseline_masks(clip: Clip, expression: Expression, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Masks `[T, H, W]` of each baseline, made of the true masks."""
    looks = [look_of(clip, expression, index) for index in range(len(clip.masks))]
    alike = [index for index, is_alike in enumerate(looks) if is_alike]
    largest = clip.masks.sum((1, 2, 3)).argmax()
    nothing = np.zeros_like(clip.masks[0])
    return {
        "every shape": clip.masks.any(0),
        "largest shape": clip.masks[largest],
        "all of that look": clip.masks[alike].any(0) if alike else nothing,
        "one of that look": clip.masks[rng.choice(alike)] if alike else nothing,
    }


def look_of(clip: Clip, expression: Expression, index: int) -> bool:
    """Whether a shape has the look that the expression names (all looks, if it names none)."""
    wanted: Filter = expression.filter
    return Filter(wanted.shape, wanted.color, wanted.size).matches(clip.scene.sprites[index])


def evaluate(model, split: str, num_videos: int, seed: int, size: int, **options) -> dict:
    """J&F (percent) by kind and in all, of every baseline and of the model: a name, a folder, a pipeline or None."""
    names = BASELINES if model is None else ("model", *BASELINES)
    scores: dict[str, dict[str, list[float]]] = {name: {kind: [] for kind in KINDS} for name in names}
    pipe = glus_hf.pipeline(model=model) if isinstance(model, str) else model
    for index in logging.tqdm(range(num_videos), desc=f"{num_videos} clips of {split}"):
        clip = generate_clip(index, split=split, seed=seed, size=size)
        if not clip.expressions:
            continue
        texts = [expression.text for expression in clip.expressions]
        results = [{}] * len(texts) if pipe is None else pipe(clip.frames, texts, progress=False, **options)
        rng = np.random.default_rng([seed, index])
        for expression, result in zip(clip.expressions, results, strict=True):
            truth = clip.target_masks(expression)
            masks = {"model": result.get("masks"), **baseline_masks(clip, expression, rng)}
            for name in names:
                scores[name][expression.kind].append(100 * j_and_f(masks[name], truth)["j_and_f"])
    table = {name: {kind: float(np.mean(v)) for kind, v in kinds.items() if v} for name, kinds in scores.items()}
    for name, kinds in scores.items():
        table[name]["all"] = float(np.mean([value for values in kinds.values() for value in values]))
    counts = {kind: len(values) for kind, values in scores[names[-1]].items()}
    return {"table": table, "counts": counts, "split": split, "seed": seed, "num_videos": num_videos}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="glus-tiny")
    parser.add_argument("--split", default="test", choices=["validation", "test", "test_held_out", "occlusion"])
    parser.add_argument("--num-videos", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=128, help="side of the frames in pixels")
    parser.add_argument("--key-frame", type=int, default=None)
    parser.add_argument("--no-model", action="store_true", help="only the baselines")
    args = parser.parse_args()
    model = None if args.no_model else args.model
    result = evaluate(model, args.split, args.num_videos, args.seed, args.size, key_frame=args.key_frame)
    kinds = [kind for kind, count in result["counts"].items() if count] + ["all"]
    print("| J&F | " + " | ".join(kinds) + " |\n|" + " --- |" * (len(kinds) + 1))
    print(
        "| expressions | "
        + " | ".join(str(result["counts"].get(kind, sum(result["counts"].values()))) for kind in kinds)
        + " |"
    )
    for name, row in result["table"].items():
        print(f"| {name} | " + " | ".join(f"{row[kind]:.1f}" for kind in kinds) + " |")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
