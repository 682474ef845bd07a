"""Sizes of the engines, and GPU memory and seconds per frame of GLUS-7B. A CALCULATION on the meta device.

    python benchmarks/gpu_needs.py sizes
    python benchmarks/gpu_needs.py glus-7b
    python benchmarks/gpu_needs.py mevis --cards 8

Nothing is measured on a GPU. Parameters are counted on models without data. Memory is the weights in each precision
and the peak of live tensors while each stage of inference runs without data; CUDA's context (about 0.5 GB), the
allocator's fragmentation and the workspaces of libraries are not in it. Seconds are operations by the peak rate of a
card and a share of it that is assumed: the range is from all of the peak rate to `--utilization` of it.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode
from training_memory import FOUR_BIT, GB, HALF, LiveTensors, MemoryBank, flash_attention
from transformers import logging as transformers_logging

from glus_hf import (
    GLEEConfig,
    GLEEForVideoSegmentation,
    GLUSConfig,
    GLUSForVideoSegmentation,
    GroundedConfig,
    GroundedForVideoSegmentation,
)
from glus_hf.models.prefix_cache import ACCELERATOR_BATCH, PromptCache, read_at


PREFIX, WINDOW = 300, 416  # positions: four context frames; four frames and an expression of eleven tokens
HIDDEN, LAYERS, SEG_DIM = 4096, 32, 256
INT8 = 1 + 4 / HIDDEN  # bytes: LLM.int8 has a float32 scale for every row of at least 4096 weights
PRECISIONS = {"bfloat16": HALF.itemsize, "language model in 8 bit": INT8, "language model in 4 bit": FOUR_BIT}
CARDS = {  # dense bfloat16 with float32 sums, 1e12 operations per second, from NVIDIA's data sheets
    "RTX 4090, 24 GB": 165.2,
    "A100, 40 or 80 GB": 312.0,
    "H100 SXM, 80 GB": 989.4,
    "H200 SXM, 141 GB": 989.4,
}
MEVIS_VALID = (140, 2236)  # videos, expressions
SWIN_B = {
    "model_type": "swin",
    "image_size": 384,
    "embed_dim": 128,
    "depths": [2, 2, 18, 2],
    "num_heads": [4, 8, 16, 32],
    "window_size": 12,
    "out_indices": [2, 3, 4],
}
SWIN_L = {
    "model_type": "swin",
    "embed_dim": 192,
    "depths": [2, 2, 18, 2],
    "num_heads": [6, 12, 24, 48],
    "window_size": 12,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}
HIERA_TINY = {"model_type": "sam2_hiera_det_model"}  # the default of transformers
HIERA_BASE_PLUS = {
    "model_type": "sam2_hiera_det_model",
    "hidden_size": 112,
    "num_attention_heads": 2,
    "blocks_per_stage": [2, 3, 16, 3],
    "embed_dim_per_stage": [112, 224, 448, 896],
    "num_attention_heads_per_stage": [2, 4, 8, 16],
    "window_size_per_stage": [8, 4, 14, 7],
    "window_positional_embedding_background_size": [14, 14],
    "global_attention_blocks": [12, 16, 20],
}


def engines() -> dict[str, Callable[[], torch.nn.Module]]:
    """How each engine of full size is made."""
    return {
        "grounded-tiny": lambda: grounded({}, HIERA_TINY, [768, 384, 192, 96]),
        "grounded-base": lambda: grounded({"backbone_config": SWIN_B}, HIERA_BASE_PLUS, [896, 448, 224, 112]),
        "glee-lite": lambda: GLEEForVideoSegmentation(GLEEConfig()),
        "glee-plus": lambda: GLEEForVideoSegmentation(GLEEConfig(backbone_config=SWIN_L)),
        "glee-pro": lambda: GLEEForVideoSegmentation(GLEEConfig(backbone_config={"model_type": "glee_eva02"})),
        "glus-7b": lambda: GLUSForVideoSegmentation(GLUSConfig(seg_token_id=32000)),
    }


def grounded(detector: dict, backbone: dict, channels: list[int]) -> torch.nn.Module:
    vision = {"model_type": "sam2_vision_model", "backbone_config": backbone, "backbone_channel_list": channels}
    detector = {"model_type": "grounding-dino", **detector}
    return GroundedForVideoSegmentation(
        GroundedConfig(detector_config=detector, mask_config={"vision_config": vision})
    )


def print_sizes() -> None:
    print("| engine | parameters, million | weights in float32, GB | in bfloat16, GB |\n| --- | --- | --- | --- |")
    for name, make in engines().items():
        with torch.device("meta"):
            count = sum(parameter.numel() for parameter in make().parameters())
        print(f"| `{name}` | {count / 1e6:.1f} | {4 * count / GB:.2f} | {2 * count / GB:.2f} |")


class Stages:
    """The stages of inference of GLUS-7B on one frame of one expression, without data."""

    def __init__(self):
        with torch.device("meta"):
            self.model = GLUSForVideoSegmentation(GLUSConfig(seg_token_id=32000)).to(HALF).eval()
            self.prefix = PromptCache(*([self.empty(1, PREFIX, HIDDEN)] * LAYERS for _ in range(2)))
        self.features = self.run(self.mask_features)

    @staticmethod
    def empty(*shape: int) -> torch.Tensor:
        return torch.empty(*shape, dtype=HALF, device="meta")

    @staticmethod
    def run(stage: Callable):
        with torch.device("meta"), torch.no_grad():
            return stage()

    def clip(self):
        """One frame for the language model."""
        return self.model.model.encode_frames(self.empty(1, 3, 224, 224))

    def windows(self, count: int):
        """`count` windows behind the prefix, for the [SEG] of their last frames."""
        places = torch.full((count, 1), WINDOW - 1)
        last, _ = read_at(self.model.model.language_model, self.empty(count, WINDOW, HIDDEN), places, self.prefix)
        return self.model.lm_head(last).float().softmax(-1)

    def mask_features(self):
        """One frame for the mask branch."""
        return self.model.model._mask_features(self.empty(1, 3, 1024, 1024))

    def decode(self):
        """The mask of one frame behind a full bank of memories, and its memory."""
        bank = MemoryBank(self.model.config.num_maskmem, self.model.config.memory_stride)
        memory = self.empty(4096, 1, 64)
        for frame in range(24):
            bank.write(frame, memory, memory, [True])
        return self.model.model.decode_frame(self.features, self.empty(1, SEG_DIM), bank, 24, [True])


def weights(model, precision: float) -> dict[str, float]:
    """Bytes by part. The matrices of the language model's layers have the precision, all others bfloat16."""
    sizes = dict.fromkeys(("CLIP", "language model", "SAM-2", "embeddings, head, projections"), 0.0)
    for name, parameter in model.named_parameters():
        is_matrix = "language_model.layers." in name and parameter.ndim == 2
        size = parameter.numel() * (precision if is_matrix else HALF.itemsize)
        sizes[part_of(name)] += size
    return sizes


def part_of(name: str) -> str:
    parts = {"vision_tower": "CLIP", "language_model.layers": "language model", "mask_model": "SAM-2"}
    return next((part for sign, part in parts.items() if sign in name), "embeddings, head, projections")


def peak(stages: Stages, stage: Callable) -> float:
    with flash_attention(), LiveTensors(stages.model) as meter:
        stages.run(stage)
    return meter.peak


def operations(stages: Stages, stage: Callable) -> float:
    with FlopCounterMode(display=False) as counter:
        stages.run(stage)
    return counter.get_total_flops()


PER_FRAME, PER_MASK = ("CLIP", "SAM-2 image encoder"), ("language model, one window", "memory, mask decoder")


def operations_of(stages: Stages) -> dict[str, float]:
    """By part: those of a frame, and those of a frame and expression."""
    runs = (stages.clip, stages.mask_features, lambda: stages.windows(1), stages.decode)
    return {name: operations(stages, run) for name, run in zip(PER_FRAME + PER_MASK, runs, strict=True)}


def print_mevis(frames: int, cards: int, utilization: float) -> None:
    """`frames`: of a video, on average."""
    videos, expressions = MEVIS_VALID
    parts, counts = operations_of(Stages()), dict.fromkeys(PER_FRAME, videos) | dict.fromkeys(PER_MASK, expressions)
    print(
        f"CALCULATED on the meta device, not measured: {videos} videos of {frames} frames, {expressions} expressions"
    )
    print("\n| part | 1e15 operations |\n| --- | --- |")
    totals = {name: frames * counts[name] * size for name, size in parts.items()}
    for name, size in totals.items():
        print(f"| {name} | {size / 1e15:.0f} |")
    total = sum(totals.values())
    print(f"| **all** | **{total / 1e15:.0f}** |\n\n| cards | minutes |\n| --- | --- |")
    for name, rate in CARDS.items():
        best = total / (cards * rate * 1e12) / 60
        print(f"| {cards} x {name} | {best:.0f} to {best / utilization:.0f} |")


def print_glus(utilization: float) -> None:
    stages = Stages()
    kept = 2 * LAYERS * PREFIX * HIDDEN * HALF.itemsize
    batches = sorted({1, ACCELERATOR_BATCH})
    read = {count: peak(stages, lambda count=count: stages.windows(count)) for count in batches}
    mask = max(peak(stages, stages.mask_features), peak(stages, stages.decode))
    print("CALCULATED on the meta device, not measured\n\nGB (1e9 bytes) of GPU memory, one expression:\n")
    print(f"| part | {' | '.join(PRECISIONS)} |\n| --- | {' | '.join(['---'] * len(PRECISIONS))} |")
    table = {name: weights(stages.model, size) for name, size in PRECISIONS.items()}
    for part in next(iter(table.values())):
        print(f"| {part} | {' | '.join(f'{sizes[part] / GB:.2f}' for sizes in table.values())} |")
    totals = [sum(sizes.values()) for sizes in table.values()]
    print(f"| **weights** | {' | '.join(f'**{total / GB:.2f}**' for total in totals)} |")
    for count in batches:
        extra = kept + max(read[count], mask)
        print(f"| with `batch_size={count}` | {' | '.join(f'{(total + extra) / GB:.2f}' for total in totals)} |")
    parts = operations_of(stages)
    print("\n| operations per frame and expression | 1e12 |\n| --- | --- |")
    for name, count in parts.items():
        print(f"| {name} | {count / 1e12:.2f} |")
    total = sum(parts.values())
    print(f"| **all** | **{total / 1e12:.2f}** |\n\n| card | seconds per frame |\n| --- | --- |")
    for name, rate in CARDS.items():
        best = total / (rate * 1e12)
        print(f"| {name} | {best:.3f} to {best / utilization:.3f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("sizes", "glus-7b", "mevis"))
    parser.add_argument("--utilization", type=float, default=0.3, help="assumed share of a card's peak rate")
    parser.add_argument("--frames", type=int, default=80, help="assumed mean length of MeViS's videos")
    parser.add_argument("--cards", type=int, default=8)
    arguments = parser.parse_args()
    transformers_logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    if arguments.what == "sizes":
        print_sizes()
    elif arguments.what == "glus-7b":
        print_glus(arguments.utilization)
    else:
        print_mevis(arguments.frames, arguments.cards, arguments.utilization)


if __name__ == "__main__":
    main()
