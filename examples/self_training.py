"""One round of self-training: does a model get better at new footage by learning from its own masks of it?

    python examples/make_clips.py clips
    python examples/self_training.py clips runs/self-training

labels clips/train with `make_pseudo_masks`, whose filter never looks at the true masks, fine-tunes the model on what
is kept, and scores it on clips/valid. Beside it: the model without training, and trained on the true masks instead.
A third of the training samples are clips of the kind that the model knows. Finished runs are only read.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from glus_hf import (
    GLUSForVideoSegmentation,
    GLUSProcessor,
    GLUSTrainer,
    GLUSTrainingArguments,
    MixtureDataset,
    ReferringVideoDataset,
    load_referring_dataset,
)
from glus_hf.training.samples.pseudo_masks import make_pseudo_masks
from glus_hf.training.validation import VideoValidation


def load(name: str) -> tuple[GLUSForVideoSegmentation, GLUSProcessor]:
    """Model and processor."""
    return GLUSForVideoSegmentation.from_pretrained(name).eval(), GLUSProcessor.from_pretrained(name)


def label(args: argparse.Namespace) -> dict:
    """The model's own masks of the training clips, and how good they are."""
    summary = args.output / "labels.json"
    if not summary.exists():
        model, processor = load(args.model)
        rows = load_referring_dataset("own", args.clips, split="train")
        filter_ = {"min_score": args.min_score, "min_agreement": args.min_agreement}
        report = make_pseudo_masks(model, processor, rows, args.output / "labels", **filter_)
        if report.clips is None:
            raise SystemExit("error: the filter kept no expression; lower --min-score or --min-agreement")
        summary.write_text(json.dumps(report.to_dict()))
    return json.loads(summary.read_text())


def train(clips: Path, seed: int, args: argparse.Namespace, output: Path) -> tuple:
    """The model after `--steps` steps on these clips."""
    model, processor = load(args.model)
    frames = {"num_context_frames": processor.num_context_frames, "num_query_frames": processor.num_query_frames}
    known = load_referring_dataset("motion_shapes", split="train", num_videos=100, size=64)
    parts = {
        "own": ReferringVideoDataset(load_referring_dataset("own", clips, split="train"), **frames),
        "motion_shapes": ReferringVideoDataset(known, **frames),
    }
    mixture = MixtureDataset(parts, {"own": 2, "motion_shapes": 1}, num_samples_per_epoch=4 * args.steps, seed=seed)
    options = {"total_train_batch_size": 4, "max_steps": args.steps, "learning_rate": 1e-3}
    quiet = {"save_strategy": "no", "report_to": [], "use_cpu": True}
    arguments = GLUSTrainingArguments(str(output), seed=seed, **options, **quiet)
    trainer = GLUSTrainer(model, arguments, train_dataset=mixture, processing_class=processor)
    trainer.train()
    return trainer.model.eval(), processor


def score(model, processor, args: argparse.Namespace, output: Path) -> float:
    """J&F in percent on the clips that nothing is trained on."""
    rows = load_referring_dataset("own", args.clips, split="valid")
    return VideoValidation(rows, output / "predictions", split="valid")(model, processor)["J&F"]


def measure(name: str, clips: Path | None, seed: int, args: argparse.Namespace) -> float:
    """Train, unless `clips` is None, and score; or read what was measured."""
    folder = args.output / f"{name}-{seed}"
    result = folder / "result.json"
    if not result.exists():
        pair = load(args.model) if clips is None else train(clips, seed, args, folder)
        result.write_text(json.dumps(score(*pair, args, folder)))
    return json.loads(result.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, help="folder of make_clips.py")
    parser.add_argument("output", type=Path)
    parser.add_argument("--model", default="glus-tiny")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--min-score", type=float, default=0.7)
    parser.add_argument("--min-agreement", type=float, default=0.7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.output.mkdir(parents=True, exist_ok=True)
    labels = label(args)
    print(f"kept {labels['num_kept']} of {labels['num_expressions']} expressions, ", end="")
    print(f"J {labels['j_of_kept']:.1f} (of all {labels['j_of_all']:.1f})")
    print("| trained on | J&F on valid | seeds |\n| --- | --- | --- |")
    roads = {"nothing": None, "own masks": Path(labels["clips"]), "true masks": args.clips}
    for name, clips in roads.items():
        seeds = args.seeds if clips else args.seeds[:1]
        values = [measure(name.replace(" ", "_"), clips, seed, args) for seed in seeds]
        spread = f"{np.mean(values):.1f} ({min(values):.1f} to {max(values):.1f})"
        print(f"| {name} | {spread} | {', '.join(map(str, seeds))} |", flush=True)


if __name__ == "__main__":
    main()
