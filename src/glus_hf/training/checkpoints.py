"""Checkpoints of the trainers: which are complete, and which of them fit a model."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import torch
from peft import PeftConfig, PeftModel
from safetensors import SafetensorError, safe_open
from transformers.utils import logging

from ..errors import CheckpointError


logger = logging.get_logger(__name__)

STATE_FILE = "trainer_state.json"
PARTS = {
    "r": "lora_rank (or language_model_training)",
    "target_modules": "lora_targets",
    "modules_to_save": "choice of parts (embedding_training, mask_branch_training, train_projections)",
    "trainable_token_indices": "embedding_training",
}
REMEDY = "resume from another checkpoint, or remove this one"


def checkpoints(output_dir: str | os.PathLike) -> list[Path]:
    """Folders `checkpoint-<step>` of a run, the newest first."""
    folder = Path(output_dir)
    found = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    steps = {path: re.fullmatch(r"checkpoint-(\d+)", path.name) for path in found}
    return sorted((path for path in found if steps[path]), key=lambda path: int(steps[path][1]), reverse=True)


def check_complete(checkpoint: str | os.PathLike) -> int:
    """The step of a checkpoint that was written to its end.

    transformers writes weights, optimizer, scheduler and random states and then `trainer_state.json`; after it comes
    the contrastive bank. So a complete one has a readable state, and no file of tensors that is cut off.

    Raises:
        CheckpointError: it is not complete; one line.
    """
    checkpoint = Path(checkpoint)
    if not checkpoint.is_dir():
        raise CheckpointError(f"{checkpoint}: there is no such folder; pass a checkpoint")
    try:
        step = int(json.loads((checkpoint / STATE_FILE).read_text(encoding="utf-8"))["global_step"])
        for file in sorted(checkpoint.rglob("*.safetensors")):
            with safe_open(file, framework="pt"):  # compares the header with the size of the file
                pass
    except FileNotFoundError:
        raise CheckpointError(f"{checkpoint}: has no {STATE_FILE}, so it is not complete; {REMEDY}") from None
    except (ValueError, KeyError, TypeError, RecursionError, SafetensorError, OSError) as error:
        raise CheckpointError(f"{checkpoint}: is not complete ({error}); {REMEDY}") from None
    return step


def check_same_parts(checkpoint: str | os.PathLike, model: torch.nn.Module) -> None:
    """Refuse a checkpoint in which other parts of the model were trained.

    Raises:
        CheckpointError: they were; one line.
    """
    checkpoint, other = Path(checkpoint), []
    is_adapter = (checkpoint / "adapter_config.json").is_file()
    if is_adapter and isinstance(model, PeftModel):
        stored, own = PeftConfig.from_pretrained(str(checkpoint)), model.peft_config[model.active_adapters[0]]
        other = [said for name, said in PARTS.items() if _plain(stored, name) != _plain(own, name)]
    elif is_adapter or (isinstance(model, PeftModel) and (checkpoint / "config.json").is_file()):
        other = ["language_model_training"]
    if other:
        raise other_options(checkpoint, f"another {' and another '.join(other)}")


def other_options(checkpoint: str | os.PathLike, what: str) -> CheckpointError:
    remedy = "resume with the options it was trained with, or start a new run in another folder"
    return CheckpointError(f"{checkpoint}: was trained with {what}; {remedy}")


def _plain(config: PeftConfig, name: str):
    value = getattr(config, name, None)
    return sorted(value) if isinstance(value, (list, tuple, set)) else value


def last_checkpoint(output_dir: str | os.PathLike) -> Path:
    """The newest complete checkpoint of a run; warns of newer ones that are not complete.

    Raises:
        CheckpointError: there is none; one line.
    """
    found = checkpoints(output_dir)
    for checkpoint in found:
        try:
            check_complete(checkpoint)
        except CheckpointError as error:
            logger.warning(f"{str(error).removesuffix(REMEDY)}an older one is looked for")
        else:
            return checkpoint
    what = "complete checkpoint" if found else "checkpoint"
    raise CheckpointError(f"{output_dir}: has no {what} to resume from; start without resuming, in another folder")


def check_new_folder(folder: str | os.PathLike) -> None:
    """A model is written to a folder that is new or empty.

    Raises:
        CheckpointError: it is neither; one line.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"{folder}: is a file; choose a new folder for the model")
    if folder.exists() and any(folder.iterdir()):
        raise CheckpointError(f"{folder}: is not empty; choose a new folder for the model, or remove this one")


__all__ = [
    "STATE_FILE",
    "check_complete",
    "check_new_folder",
    "check_same_parts",
    "checkpoints",
    "last_checkpoint",
    "other_options",
]
