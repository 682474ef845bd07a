"""From an adapter back to a model of its own."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from peft import PeftModel
from transformers import PreTrainedConfig, PreTrainedModel

from ..atomic_write import new_folder
from ..checkpoint_files.json_fields import read_fields
from ..errors import CheckpointError
from ..model_families import load_class
from ..models.adapters import ADAPTER_CONFIG, BASE_CONFIG
from ..models.checkpoint_loading import model_type_of, readable_errors
from .checkpoints import check_new_folder, read_adapter_config


ONLY_IN_TRAINING = ("detach_memory",)


def export_adapter(
    adapter: str | os.PathLike,
    folder: str | os.PathLike,
    base: str | os.PathLike | None = None,
    dtype: str | torch.dtype | None = None,
) -> Path:
    """Merge a trained adapter into its base (on the CPU) and save the model with the processor beside it.

    Args:
        adapter: folder of a checkpoint of [`GLUSTrainer`].
        folder: to make; must be new or empty.
        base: folder or name of the model that the adapter was trained on; by default the one it names.
        dtype: of the weights; by default that of the base's files. Merging happens in float32.

    Raises:
        CheckpointError: no adapter there, the base is not found, or the folder is in use; one line.

    Example:

        >>> export_adapter("runs/mine/checkpoint-3000", "my-glus")  # doctest: +SKIP
    """
    adapter, folder = Path(adapter), Path(folder)
    if not os.path.lexists(adapter / ADAPTER_CONFIG):
        raise CheckpointError(f"{adapter}: has no {ADAPTER_CONFIG}; pass a checkpoint folder of GLUSTrainer")
    check_new_folder(folder)
    settings = read_adapter_config(adapter)
    base = str(base or settings.base_model_name_or_path or "")
    if not base:
        raise CheckpointError(
            f"{adapter}: does not name the model it was trained on; save that model with save_pretrained and pass base"
        )
    family = model_type_of(base)
    stored = load_class(family, "config").from_pretrained(base)
    config = _config(adapter, stored)
    model = load_class(family, "model").from_pretrained(base, config=config, dtype=torch.float32)
    with readable_errors(adapter):
        merged = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    return _write(merged, adapter, folder, dtype if dtype is not None else stored.dtype)


def export_whole(
    trained: str | os.PathLike,
    folder: str | os.PathLike,
    base: str | os.PathLike | None = None,
    dtype: str | torch.dtype | None = None,
) -> Path:
    """Save a model all of which was trained, in the folder `trained`, as [`export_adapter`] does with an adapter."""
    family = model_type_of(trained)
    config_class = load_class(family, "config")
    stored = config_class.from_pretrained(base) if base else config_class()
    config = _for_inference(config_class.from_pretrained(trained), stored)
    model = load_class(family, "model").from_pretrained(trained, config=config, dtype=torch.float32)
    return _write(model, Path(trained), Path(folder), dtype if dtype is not None else stored.dtype)


def _write(model: PreTrainedModel, source: Path, folder: Path, dtype: str | torch.dtype | None) -> Path:
    """The model, with the processor of the folder `source` beside it."""
    if dtype is not None:
        model = model.to(getattr(torch, dtype) if isinstance(dtype, str) else dtype)
    with new_folder(folder) as partial:
        model.save_pretrained(partial)
        if (source / "processor_config.json").is_file():
            load_class(model.config.model_type, "processor").from_pretrained(str(source)).save_pretrained(partial)
    return folder


def _config(adapter: Path, stored: PreTrainedConfig) -> PreTrainedConfig:
    file = adapter / BASE_CONFIG
    if not file.is_file():
        return stored
    with readable_errors(file):
        config = _for_inference(type(stored).from_dict(read_fields(file)), stored)
    if hasattr(config, "quantization_config"):  # the base was loaded in 4 bit: merge into its full weights
        del config.quantization_config
    return config


def _for_inference(config: PreTrainedConfig, stored: PreTrainedConfig) -> PreTrainedConfig:
    """Options that were set for the training alone are those of the base again."""
    for name in ONLY_IN_TRAINING:
        setattr(config, name, getattr(stored, name))
    return config


__all__ = ["export_adapter", "export_whole"]
