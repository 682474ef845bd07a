"""What early fusion, the text tower's training and temporal similarity do for glee-tiny, each over several seeds.

    python examples/ablate_tiny_glee.py --start runs/glee-tiny/contrast --output runs/glee-ablations
    python examples/ablate_tiny_glee.py --temporal --model glee-tiny --num-videos 40

The first command trains short runs from the contrastive stage: the text tower distilled, unfrozen or frozen, and
without early fusion (the tower distilled). It goes on where it was stopped, and runs that are finished are only read.
The second takes temporal similarity away from a finished model, on clips of several seeds.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from evaluate_tiny import evaluate as evaluate_videos
from tiny_glee_ap import evaluate as evaluate_names
from train_tiny_glee import export, train_main

import glus_hf
from glus_hf import GLEEForVideoSegmentation, GLEEProcessor


VARIANTS = {
    "distilled": {"text_tower": "distilled"},
    "unfrozen": {"text_tower": "unfrozen"},
    "frozen": {"text_tower": "frozen"},
    "no fusion": {"text_tower": "distilled", "fusion": False},
}
VALIDATION_SEED = 1000


def run_variant(name: str, seed: int, args: argparse.Namespace) -> dict:
    """Train and measure a variant, or read what was measured."""
    folder = args.output / f"{name.replace(' ', '_')}-{seed}"
    if not (folder / "result.json").exists():
        train_main(folder, args.start, args.minutes, args.rate, seed, **VARIANTS[name])
        export(folder, folder / "model")
        (folder / "result.json").write_text(json.dumps(measure(folder / "model", args)))
    return json.loads((folder / "result.json").read_text())


def measure(model: Path, args: argparse.Namespace) -> dict:
    """J&F of expressions about looks, and AP50 of boxes by the names of shapes, on clips of a seed of its own."""
    videos = evaluate_videos(str(model), "validation", args.num_videos, VALIDATION_SEED, 128)
    pair = GLEEForVideoSegmentation.from_pretrained(model).eval(), GLEEProcessor.from_pretrained(model)
    names = evaluate_names(*pair, "shapes", args.num_images, "validation", VALIDATION_SEED)
    steps = json.loads((model.parent / "state.json").read_text())["step"]
    return {"static": videos["table"]["model"]["static"], "box AP50": names["box AP50"], "steps": steps}


def measure_temporal(args: argparse.Namespace) -> dict[str, list[dict]]:
    """J&F by kind with and without temporal similarity, per seed of clips."""
    found: dict[str, list[dict]] = {}
    for name, similarity in (("cosine", "cosine"), ("none", None)):
        for seed in args.seeds:
            pipe = glus_hf.pipeline(model=args.model)
            pipe.model.config.temporal_similarity = similarity
            result = evaluate_videos(pipe, "test", args.num_videos, seed, 128)
            found.setdefault(name, []).append(result["table"]["model"])
    return found


def table(found: dict[str, list[dict]]) -> str:
    """A row per variant: mean over the seeds, lowest to highest."""
    every = [row for rows in found.values() for row in rows]
    columns = [column for column in every[0] if all(column in row for row in every)]
    lines = ["| | " + " | ".join(columns) + " |", "| --- |" + " --- |" * len(columns)]
    for name, rows in found.items():
        values = [np.array([row[column] for row in rows]) for column in columns]
        cells = [f"{each.mean():.1f} ({each.min():.1f} to {each.max():.1f})" for each in values]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=Path, help="folder of the contrastive stage")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--minutes", type=float, default=3, help="CPU time of a run")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--num-videos", type=int, default=20, help="clips that a run is measured on")
    parser.add_argument("--num-images", type=int, default=200, help="stills that a run is measured on")
    parser.add_argument("--temporal", action="store_true", help="take temporal similarity away from --model")
    parser.add_argument("--model", default="glee-tiny")
    args = parser.parse_args()
    if not args.temporal and not (args.start and args.output):
        parser.error("give --start and --output, or --temporal")
    torch.set_num_threads(1)
    if args.temporal:
        found = measure_temporal(args)
    else:
        found = {name: [] for name in args.variants}
        for seed in args.seeds:  # all variants of a seed first
            for name in args.variants:
                found[name].append(run_variant(name, seed, args))
    print(table(found))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
