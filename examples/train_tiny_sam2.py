"""Train a tiny plain SAM-2 on MotionShapes to follow a mask given on one frame: the baseline beside glus-tiny.

    python examples/train_tiny_sam2.py --output runs/tiny-sam2 --minutes 30  # minutes of CPU, one thread; resumes

It reads no expression. The folder is a `Sam2VideoModel` for `--sam2-model`; propagation_table.py measures it.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from tiny_mask import ious
from tiny_sam2 import Features, build_tiny_sam2, follow, sample_clips, shown
from torch import Tensor
from torch.nn import functional as F
from train_tiny import Optimizers
from transformers import Sam2VideoModel

from glus_hf.models.recipe_losses import mask_dice_loss


OBJECTS = 3
SHORT = 0.25  # part of the time with many clips of few frames: where the mask goes next


def losses(logits: Tensor, scores: Tensor, targets: Tensor, near: Tensor) -> tuple[Tensor, dict]:
    """SAM-2's losses: masks where the object is there, and everywhere whether it is.

    Args:
        logits: `[objects, frames, 32, 32]`.
        scores: `[objects, frames]`, logits.
        targets: `[objects, frames, 128, 128]`, 0 or 1.
        near: the same size, 1 near any sprite, where wrong pixels weigh more.
    """
    there = targets.any(-1).any(-1)
    presence = F.binary_cross_entropy_with_logits(scores, there.float())
    full = F.interpolate(logits, size=targets.shape[-2:], mode="bilinear", align_corners=False)
    pixels = F.binary_cross_entropy_with_logits(full, targets, reduction="none")
    foreground = (pixels * near).sum((-1, -2)) / near.sum((-1, -2)).clamp(min=1)
    dice = mask_dice_loss(full[there][:, None], targets[there][:, None]).mean()
    masks = 2 * pixels.mean((-1, -2)) + foreground
    right = ious(shown(full.flatten(0, 1), scores.flatten()[:, None]) > 0, targets.flatten(0, 1) > 0.5)
    right = right.unflatten(0, there.shape)
    metrics = {"presence": presence.item(), "dice": dice.item(), "J_next": right[:, 0].mean().item()}
    metrics |= {"J_last": right[:, -1].mean().item(), "J_there": right[there].mean().item()}
    return masks[there].mean() + dice + 0.5 * presence, metrics


def step_loss(model: Sam2VideoModel, rng: np.random.Generator, progress: float) -> tuple[Tensor, dict]:
    clips, fewest, most = (8, 2, 4) if progress < SHORT else (5, 4, 8)
    frames = int(rng.integers(fewest, most + 1))
    pixels, targets, owner, sprites = sample_clips(rng, clips, OBJECTS, frames)
    features = Features(model, pixels)
    logits, scores = follow(model, features, targets[:, 0], owner)
    near = F.max_pool2d(sprites[:, 1:], 13, stride=1, padding=6)
    loss, metrics = losses(logits, scores, targets[:, 1:], near[owner])
    return loss + scale_penalty(features), metrics


def scale_penalty(features: Features) -> Tensor:
    """Keeps the features that memories are made of at a root mean square near 1 (see tiny_mask.py)."""
    return 0.2 * features.levels[-1].square().mean().sqrt().log().square()


def save(folder: Path, model: Sam2VideoModel, optimizers: Optimizers, state: dict) -> None:
    """The state last: it tells of a whole checkpoint."""
    model.save_pretrained(folder / "new")
    torch.save(optimizers.state_dict(), folder / "new" / "optimizer.pt")
    (folder / "new" / "state.json").write_text(json.dumps(state))
    for file in sorted((folder / "new").iterdir(), key=lambda file: file.name == "state.json"):
        file.rename(folder / file.name)
    (folder / "new").rmdir()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True, help="training time; the rate decays over its end")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--decay", type=float, default=0.5, help="part of the time over which the rate falls")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.output.mkdir(parents=True, exist_ok=True)

    model, state = build_tiny_sam2(args.seed), {"step": 0, "seconds": 0.0}
    resumes = (args.output / "state.json").exists()
    if resumes:
        model = Sam2VideoModel.from_pretrained(args.output)
        state = json.loads((args.output / "state.json").read_text())
    model.train()
    named = [(f"mask_model.{name}", parameter) for name, parameter in model.named_parameters()]
    optimizers = Optimizers(named, args.learning_rate, args.learning_rate, decay=args.decay)
    if resumes:
        optimizers.load_state_dict(torch.load(args.output / "optimizer.pt", weights_only=True))
    averages: dict[str, float] = {}
    last = time.process_time()
    with (args.output / "log.jsonl").open("a") as log:
        while state["seconds"] < args.minutes * 60:
            rng = np.random.default_rng([78, args.seed, state["step"]])
            progress = state["seconds"] / (args.minutes * 60)
            loss, metrics = step_loss(model, rng, progress)
            if not math.isfinite(loss.item()):
                raise RuntimeError(f"the loss is {loss.item()} at step {state['step']}")
            optimizers.step(loss, state["step"], progress)
            for name, value in {"loss": loss.item(), **metrics}.items():
                averages[name] = 0.95 * averages.get(name, value) + 0.05 * value
            state["step"] += 1
            state["seconds"] += time.process_time() - last
            last = time.process_time()
            if state["step"] % 20 == 0:
                log.write(json.dumps({**state, **{k: round(v, 4) for k, v in averages.items()}}) + "\n")
                log.flush()
            if state["step"] % 50 == 0:
                save(args.output, model, optimizers, state)
    save(args.output, model, optimizers, state)


if __name__ == "__main__":
    main()
