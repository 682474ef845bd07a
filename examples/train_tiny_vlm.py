"""Train a tiny Qwen3-VL with the mask branch of glus-tiny on MotionShapes; stages resume where they were stopped.

    python examples/train_tiny_vlm.py --stage read --output runs/tiny-vlm/read --minutes 55
    python examples/train_tiny_vlm.py --stage join --output runs/tiny-vlm/join --minutes 40 --start runs/tiny-vlm/read
    python examples/evaluate_tiny.py --model runs/tiny-vlm/join/model --split test --num-videos 200

Minutes are of the processor, on one thread. `model` in the output folder is a checkpoint of package `glus_hf`.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from tiny_model import TrainingHeads
from tiny_vlm import HIDDEN, QUERIES, build_vlm
from tiny_vlm_read import join_losses, read_losses, sample_vlm_batch
from train_tiny import Optimizers, save


STAGES = ("read", "join")
RATES = {"read": (0.015, 0.003), "join": (0.006, 0.001)}  # of Muon, of AdamW
CLIPS = 8


def trainable(model, heads, stage: str) -> list:
    """Named parameters; those of blocks of the tower count as layers."""
    named = [(name.replace("blocks", "layers"), weight) for name, weight in model.named_parameters()]
    chosen = [(name, weight) for name, weight in named if stage == "join" or "mask_model" not in name]
    return chosen + [(f"heads.{name}", weight) for name, weight in heads.named_parameters()]


def sample_window(rng: np.random.Generator, stage: str, progress: float) -> int:
    """Query frames of the next batch: one at first, then also two."""
    share = {"read": 0.0 if progress < 0.5 else 0.4, "join": 0.5}[stage]
    return 1 + int(rng.random() < share)


def load(folder: Path, model, heads) -> None:
    """Weights of a run."""
    tensors = load_file(folder / "weights.safetensors")
    for prefix, module in (("model.", model), ("heads.", heads)):
        module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", choices=STAGES, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--start", type=Path, help="start from the weights of this run")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.output.mkdir(parents=True, exist_ok=True)
    model, processor = build_vlm(args.seed)
    heads = TrainingHeads(HIDDEN)
    if args.start:
        load(args.start, model, heads)
    model.train()
    optimizers = Optimizers(trainable(model, heads, args.stage), *RATES[args.stage])
    state = {"step": 0, "seconds": 0.0}
    if (args.output / "state.json").exists():
        load(args.output, model, heads)
        optimizers.load_state_dict(torch.load(args.output / "optimizer.pt", weights_only=True))
        state = json.loads((args.output / "state.json").read_text())
    averages: dict[str, float] = {}
    last = time.process_time()
    with (args.output / "log.jsonl").open("a") as log:
        while state["seconds"] < args.minutes * 60:
            rng = np.random.default_rng([78, args.seed, STAGES.index(args.stage), state["step"]])
            torch.manual_seed(state["step"])
            progress = state["seconds"] / (args.minutes * 60)
            window = sample_window(rng, args.stage, progress)
            batch = sample_vlm_batch(rng, processor, CLIPS, 8 // window, window)
            if args.stage == "read":
                loss, _, metrics = read_losses(model, heads, batch)
            else:
                loss, metrics = join_losses(model, heads, batch)
            if not math.isfinite(loss.item()):
                raise RuntimeError(f"the loss is {loss.item()} at step {state['step']}")
            optimizers.step(loss, state["step"], progress)
            for name, value in {"loss": loss.item(), **metrics}.items():
                averages[name] = 0.97 * averages.get(name, value) + 0.03 * value
            state["step"] += 1
            state["seconds"] += time.process_time() - last
            last = time.process_time()
            if state["step"] % 25 == 0:
                log.write(json.dumps({**state, **{k: round(v, 4) for k, v in averages.items()}}) + "\n")
                log.flush()
            if state["step"] % 100 == 0:
                save(args.output, model, heads, optimizers, state)
    save(args.output, model, heads, optimizers, state)
    processor.num_query_frames = QUERIES
    model.eval().save_pretrained(args.output / "model")
    processor.save_pretrained(args.output / "model")


if __name__ == "__main__":
    main()
