"""A training step against the order of work of the original code, on one model with random weights.

    OMP_NUM_THREADS=1 python benchmarks/training.py --json training.json

The model of `mid_size_model.py` with the recipe's adapter (LoRA, mask decoder, projections, embeddings and head); two
videos of 640x360 and three expressions each, as `glus_s.yaml` has them in one accumulation step. Forward and backward
pass; dropout is 0, so that both ways have the same losses and gradients, which is checked. Both run alternately in one
process; figures are CPU time, whatever else the machine does.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from pathlib import Path

import numpy as np
import torch
import transformers
from mid_size_model import build_mid_size, expressions, noisy_clip
from reference_training import ReferenceTraining
from stage_clock import cpu_seconds
from torch import Tensor

from glus_hf.models import recipe_losses
from glus_hf.training.trainable_parameters import prepare_model


LARGEST_LOSS_DIFFERENCE = 1e-6
LARGEST_GRADIENT_DIFFERENCE = 1e-4


def training_batch(processor, num_videos: int, num_expressions: int, height: int = 360, width: int = 640) -> dict:
    """Videos with sampled questions and answers."""
    rng, count = np.random.default_rng(0), processor.num_context_frames + processor.num_query_frames
    texts = expressions(num_videos * num_expressions)
    samples = [
        {
            "frames": noisy_clip(count, height, width, seed=video),
            "expressions": texts[video::num_videos],
            "masks": rng.integers(0, 2, (num_expressions, processor.num_query_frames, height, width), np.uint8),
        }
        for video in range(num_videos)
    ]
    return dict(processor(samples, rng=rng))


class Comparison:
    """One batch, both ways."""

    def __init__(self, model, batch: dict):
        self.base, self.batch = model.get_base_model(), batch
        self.reference = ReferenceTraining(self.base)
        self.parameters = {name: part for name, part in model.named_parameters() if part.requires_grad}
        self.losses: dict[str, float] = {}
        self.gradients: dict[str, dict[str, Tensor]] = {}

    def ours(self, pack: bool = True) -> None:
        self.base.pack_expressions(pack)
        self._step("ours", lambda: self.base(**self.batch).loss)

    def public(self) -> None:
        self.base.pack_expressions(False)
        self._step("public", lambda: self.reference.loss(self.batch))

    def _step(self, side: str, run) -> None:
        for parameter in self.parameters.values():
            parameter.grad = None
        loss = run()
        self.backward(loss)
        self.losses[side] = loss.item()
        self.gradients[side] = {name: part.grad for name, part in self.parameters.items()}

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def measure(self, pack: bool = True) -> tuple[dict[str, float], dict[str, float]]:
        """CPU seconds by stage: the reference and ours."""
        parts, reference = self.base.model, self.reference
        after = {
            "memory attention": (parts, "condition_on_memory"),
            "mask decoder": (parts, "decode_masks"),
            "memory encoder": (parts, "encode_memory"),
            "backward pass": (self, "backward"),
        }
        public = {
            "CLIP": (reference, "clip"),
            "language model": (reference, "language_model"),
            "heads on all positions": (reference, "heads"),
            "SAM-2 image encoder": (reference, "mask_encoder"),
            "mask losses": (reference, "mask_losses"),
        }
        ours = {
            "CLIP": (parts, "encode_frames"),
            "language model": (parts, "read_states"),
            "SAM-2 image encoder": (parts, "encode_mask_frames"),
            "mask losses": (recipe_losses, "mask_losses"),
        }
        return cpu_seconds(self.public, public | after), cpu_seconds(lambda: self.ours(pack), ours | after)

    def differences(self) -> tuple[float, float]:
        """Of the losses, and the largest of the gradients as a share of the largest gradient."""
        ours, public = self.gradients["ours"], self.gradients["public"]
        largest = max(float(gradient.abs().max()) for gradient in public.values())
        worst = max(float((ours[name] - gradient).abs().max()) for name, gradient in public.items())
        return abs(self.losses["ours"] / self.losses["public"] - 1), worst / largest


def compare(comparison: Comparison, rounds: int, pack: bool) -> dict:
    measured = [comparison.measure(pack) for _ in range(rounds)]
    ratios = [public["total"] / ours["total"] for public, ours in measured]
    sides = dict(zip(("public", "ours"), zip(*measured, strict=True), strict=True))
    loss, gradient = comparison.differences()
    return {
        "speedup": statistics.median(ratios),
        "speedup_range": [min(ratios), max(ratios)],
        "loss_difference": loss,
        "gradient_difference": gradient,
        "seconds": {
            side: {stage: statistics.median(figures[stage] for figures in runs) for stage in runs[0]}
            for side, runs in sides.items()
        },
    }


def print_table(found: dict) -> None:
    low, high = found["speedup_range"]
    print(f"{found['speedup']:.2f} times as fast ({low:.2f} to {high:.2f}); losses differ by", end=" ")
    print(
        f"{found['loss_difference']:.1e} of themselves, gradients by {found['gradient_difference']:.1e} of the largest"
    )
    public, ours = found["seconds"]["public"], found["seconds"]["ours"]
    print("| stage | public s | ours s |\n| --- | --- | --- |")
    for stage in sorted({*public, *ours}, key=lambda name: (name == "total", name == "rest", -public.get(name, 0))):
        print(f"| {stage} | {public.get(stage, 0):.2f} | {ours.get(stage, 0):.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=2)
    parser.add_argument("--texts", type=int, default=3, help="expressions of each video")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-packing", action="store_true", help="ours without pack_expressions")
    parser.add_argument("--no-checkpointing", action="store_true", help="keep all activations of the language model")
    parser.add_argument("--json", type=Path, help="write all figures here")
    args = parser.parse_args()
    base, processor = build_mid_size()
    model = prepare_model(base, lora_dropout=0.0).train()
    base.model.mask_model.eval()  # dropout of the memory attention
    if not args.no_checkpointing:
        base.gradient_checkpointing_enable({"use_reentrant": False})
    comparison = Comparison(model, training_batch(processor, args.videos, args.texts))
    found = compare(comparison, args.rounds, pack=not args.no_packing)
    ids = comparison.batch["attention_mask"].sum(1)
    settings = {name: value for name, value in vars(args).items() if name != "json"}
    record = {
        **found,
        "settings": settings,
        "positions": ids.tolist(),
        "threads": torch.get_num_threads(),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "machine": platform.processor() or platform.machine(),
    }
    if args.json:
        args.json.write_text(json.dumps(record, indent=2) + "\n")
    print_table(found)
    if (
        found["loss_difference"] > LARGEST_LOSS_DIFFERENCE
        or found["gradient_difference"] > LARGEST_GRADIENT_DIFFERENCE
    ):
        raise SystemExit("losses or gradients differ: ours are wrong, or the reference is")


if __name__ == "__main__":
    main()
