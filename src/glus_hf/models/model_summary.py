"""How large the parts of a model are, without reading its weights."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import ModelCard
from transformers import AutoConfig, AutoModel

from ..model_families import ALL_FAMILIES, load_class
from .adapters import base_of
from .checkpoint_loading import check_checkpoint, check_files, check_weights, readable_errors, resolve_name


@dataclass(frozen=True)
class PartSize:
    """Parameters of a part, and the bytes they take as they are stored."""

    name: str
    parameters: int
    bytes: int


def part_sizes(name_or_path: str | os.PathLike) -> list[PartSize]:
    """The parts of a model, and the whole as "all"; of an adapter, those of its model.

    Raises:
        CheckpointError: it cannot be loaded; one line.

    Example:

        >>> part_sizes("glus-tiny")[-1]
        PartSize(name='all', parameters=2383354, bytes=9533416)
    """
    model = model_without_data(name_or_path)
    core = model.base_model
    beside = [] if core is model else [part for part in model.named_children() if part[1] is not core]
    parts = [*core.named_children(), *beside]
    return [_size(*part) for part in parts if any(True for _ in part[1].parameters())] + [_size("all", model)]


def model_without_data(name_or_path: str | os.PathLike):
    """The model on the device "meta", after its files were checked; of an adapter, the model it belongs to."""
    folder = resolve_name(name_or_path)
    check_checkpoint(folder, list(ALL_FAMILIES))
    check_files(folder, {}, of_model=True)
    with readable_errors(folder):
        base = base_of(folder, {})
    if base is not None:
        return model_without_data(base)
    with readable_errors(folder), torch.device("meta"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        model = AutoModel.from_config(config, dtype=config.dtype, trust_remote_code=False)
    check_weights(type(model), folder, {})
    return model


def licence_of(name_or_path: str | os.PathLike) -> str | None:
    """What the model card in a checkpoint's folder says; None where it says nothing."""
    path = Path(resolve_name(name_or_path)) / "README.md"
    if not path.is_file():
        return None
    try:
        return ModelCard.load(path).data.license
    except ValueError:  # no card, or a broken one
        return None


def notice_of(model_type: str) -> str | None:
    """What the user of a family must know of its masks; None without such a note."""
    return getattr(load_class(model_type, "model"), "notice", None)


def _size(name: str, module) -> PartSize:
    parameters = list(module.parameters())
    count = sum(parameter.numel() for parameter in parameters)
    return PartSize(name, count, sum(parameter.numel() * parameter.element_size() for parameter in parameters))


__all__ = ["PartSize", "licence_of", "model_without_data", "notice_of", "part_sizes"]
