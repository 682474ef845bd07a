"""How long GLUS-S trains: operations of a step, counted on the meta device, by the rate of a card. A CALCULATION.

    python benchmarks/training_time.py
    python benchmarks/training_time.py --step-seconds 41.5     # from a measured step of a real run

Matrix products, convolutions and attention of forward and backward passes are counted, those repeated by gradient
checkpointing too. Hours are operations by the peak rate of four A100 (312e12 a second each in bfloat16, from NVIDIA's
data sheet) and a share of it; waiting for data and between the cards is not in them.
"""

from __future__ import annotations

import argparse
import contextlib
import warnings
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode
from training_memory import HALF, Setting, meta_model

from glus_hf.models.mask_branch import GLUSMaskFeatures
from glus_hf.models.memory_bank import MemoryBank


STEPS, BATCH, EXPRESSIONS = 3000, 80, 3
CARDS, RATE = 4, 312e12
PAPER_HOURS = 25
CONTEXT, QUERY = 4, 4
SHARES = (1.0, 0.5, 0.3)


def count(run: Callable) -> float:
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


def operations() -> dict[str, float]:
    """Of one video with its expressions: forward and backward."""
    setting = Setting("", videos=1, expressions=EXPRESSIONS)
    model = meta_model(setting).get_base_model()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.to(HALF).train()
    core = model.model

    def clip():
        with torch.no_grad():
            core.vision_tower(torch.empty(CONTEXT + QUERY, 3, 224, 224, dtype=HALF))

    def language():
        states = torch.empty(EXPRESSIONS, setting.text_length, 4096, dtype=HALF, requires_grad=True)
        positions = torch.empty(1, setting.text_length, 128, dtype=HALF)
        for layer in core.language_model.layers:  # around them values are looked at, which meta tensors have none of
            states = layer(states, position_embeddings=(positions, positions))
        states.sum().backward()

    def encoder():
        with torch.no_grad():
            core.mask_model.get_image_features(torch.empty(QUERY, 3, 1024, 1024, dtype=HALF), return_dict=True)

    def decoding():
        maps = [torch.empty(QUERY, 32, 256, 256, dtype=HALF), torch.empty(QUERY, 64, 128, 128, dtype=HALF)]
        features = GLUSMaskFeatures(*(torch.empty(4096, QUERY, 256, dtype=HALF) for _ in range(2)), maps)
        bank, masks = MemoryBank(model.config.num_maskmem, 1), []
        for frame in range(QUERY):
            prompts = torch.empty(EXPRESSIONS, 256, dtype=HALF, requires_grad=True)
            view = features.select(torch.zeros(EXPRESSIONS, dtype=torch.long))
            masks.append(core.decode_frame(view, prompts, bank, frame, [True] * EXPRESSIONS))
        torch.stack(masks).sum().backward()

    parts = {
        "CLIP": clip,
        "language model": language,
        "SAM-2 image encoder": encoder,
        "memory, mask decoder": decoding,
    }
    return {name: count(run) for name, run in parts.items()}


def print_calculation(parts: dict[str, float]) -> None:
    print(f"CALCULATED, not measured: {STEPS} steps of {BATCH} videos with {EXPRESSIONS} expressions each\n")
    print("| operations of one video, forward and backward | 1e12 |\n| --- | --- |")
    for name, number in parts.items():
        print(f"| {name} | {number / 1e12:.1f} |")
    total = sum(parts.values())
    print(f"| **all** | **{total / 1e12:.1f}** |\n\n| share of the peak rate of {CARDS} A100 | hours |\n| --- | --- |")
    best = total * BATCH * STEPS / (CARDS * RATE) / 3600
    for share in SHARES:
        print(f"| {share:.0%} | {best / share:.1f} |")
    print(f"| the paper's {PAPER_HOURS} hours mean {best / PAPER_HOURS:.0%} | {PAPER_HOURS} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--step-seconds", type=float, help="Measured seconds of one optimizer step of the whole batch."
    )
    options = parser.parse_args()
    if options.step_seconds is not None:
        print(f"{STEPS} steps of {options.step_seconds} s: {STEPS * options.step_seconds / 3600:.1f} hours")
        return
    with contextlib.redirect_stderr(None):
        parts = operations()
    print_calculation(parts)


if __name__ == "__main__":
    main()
