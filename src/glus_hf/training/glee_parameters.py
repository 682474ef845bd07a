"""Trainable parameters of GLEE by rate and decay."""

from __future__ import annotations

import re
from itertools import accumulate

from torch import nn

from .glee_arguments import GLEETrainingArguments


BACKBONE, TEXT = "model.backbone.", "model.text_encoder."
UNDECAYED = (nn.LayerNorm, nn.GroupNorm, nn.Embedding)
STAGE = re.compile(r"encoder\.(?:stages|layers)\.(\d+)\.(?:(?:layers|blocks)\.(\d+)\.)?")
"""Of a ResNet `encoder.stages.1.layers.2.`, of a Swin `encoder.layers.1.blocks.2.`; its `downsample` ends a stage."""
BLOCK = re.compile(r"blocks\.(\d+)\.")  # of an EVA-02, which has one stage
FIRST = ("embedder.", "swin.embeddings.", "patch_embedding.", "position_embedding")


def parameter_groups(model: nn.Module, args: GLEETrainingArguments) -> list[dict]:
    """Trainable parameters by rate and decay: backbone and text tower slower, layers of the backbone the slower the
    farther they are from its end, no decay of norms, biases and embeddings.

    Example:

        >>> from glus_hf import GLEEConfig, GLEEForVideoSegmentation, GLEETrainingArguments
        >>> model = GLEEForVideoSegmentation(GLEEConfig.tiny())
        >>> groups = parameter_groups(model, GLEETrainingArguments("out"))
        >>> sorted({(round(group["lr"], 6), group["weight_decay"]) for group in groups})
        [(1e-05, 0.0), (1e-05, 0.05), (0.0001, 0.0), (0.0001, 0.05)]
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    undecayed = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, UNDECAYED)
        for parameter in module.parameters()
    }
    depths = model.config.backbone_config.depths
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = 1.0
        if name.startswith(BACKBONE):
            behind = sum(depths) + 1 - layer_of(name.removeprefix(BACKBONE), depths)
            rate = args.backbone_rate * args.layer_decay**behind
        elif name.startswith(TEXT):
            rate = args.text_rate
        decay = 0.0 if id(parameter) in undecayed or name.endswith("bias") else args.weight_decay
        groups.setdefault((rate * args.learning_rate, decay), []).append(parameter)
    return [{"params": parameters, "lr": rate, "weight_decay": decay} for (rate, decay), parameters in groups.items()]


def layer_of(name: str, depths: list[int]) -> int:
    """Number of the layer of a backbone that a parameter belongs to: 0 for the embedding, 1 and up for the blocks of
    all stages, one more than these for what comes after them.

    Example:

        >>> names = ("embedder.x", "encoder.stages.1.layers.0.x", "encoder.layers.0.downsample.x", "norms.x")
        >>> [layer_of(name, [2, 3]) for name in names]
        [0, 3, 2, 6]
    """
    if name.startswith(FIRST):
        return 0
    if block := BLOCK.match(name):
        return int(block[1]) + 1
    found = STAGE.search(name)
    if found is None:
        return sum(depths) + 1
    stage, block = int(found[1]), found[2]
    ends = [0, *accumulate(depths)]
    return ends[stage + 1] if block is None else ends[stage] + int(block) + 1


__all__ = ["BACKBONE", "TEXT", "layer_of", "parameter_groups"]
