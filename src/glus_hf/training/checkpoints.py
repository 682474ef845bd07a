"""Checkpoints of the trainers: which are complete, and which of them fit a model."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path

import torch
from peft import PeftConfig, PeftModel
from safetensors import SafetensorError, safe_open
from transformers import TrainerState
from transformers.utils import logging

from ..checkpoint_files.folder_check import check_adapter_files
from ..checkpoint_files.weight_folder import refuse_packed
from ..errors import CheckpointError, UserError
from ..models.adapters import ADAPTER_CONFIG, ADAPTER_FILE, misfit_of
from ..models.checkpoint_loading import readable_errors
from ..safe_files import check_regular, read_text


logger = logging.get_logger(__name__)

STATE_FILE = "trainer_state.json"
PARTS = {
    "r": "lora_rank (or language_model_training)",
    "target_modules": "lora_targets",
    "modules_to_save": "choice of parts (embedding_training, mask_branch_training, train_projections)",
    "trainable_token_indices": "embedding_training",
}
DAMAGE = (ValueError, KeyError, TypeError, RecursionError, SafetensorError, OSError, zipfile.BadZipFile)
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
    the contrastive bank. So a complete one has a readable state, and no file that is cut off.

    Raises:
        CheckpointError: it is not complete; one line.
    """
    checkpoint = Path(checkpoint)
    if not checkpoint.is_dir():
        raise CheckpointError(f"{checkpoint}: there is no such folder; pass a checkpoint")
    if not (checkpoint / STATE_FILE).exists():
        raise CheckpointError(f"{checkpoint}: has no {STATE_FILE}, so it is not complete; {REMEDY}")
    try:
        for file in sorted(checkpoint.rglob("*")):
            _check_file(file)
        return _step(checkpoint / STATE_FILE)
    except DAMAGE as error:
        raise CheckpointError(f"{checkpoint}: is not complete ({_reason(error)}); {REMEDY}") from None


def _check_file(file: Path) -> None:
    """Refuse what is neither file nor folder (a pipe would be waited for), and files without their end."""
    if not file.is_dir():
        check_regular(file, "weights")
    if file.suffix == ".safetensors":
        with safe_open(file, framework="pt"):  # compares the header with the size of the file
            pass
    if file.suffix in (".pt", ".pth"):
        with zipfile.ZipFile(file):  # its table of contents is at its end
            pass
        refuse_packed(file)


def _step(file: Path) -> int:
    """The step of a state all of whose fields are of the kind that transformers writes."""
    content = json.loads(read_text(file, "json"))
    if "global_step" not in content:
        raise ValueError(f"{file.name} has no global_step")
    state, usual = TrainerState(**content), TrainerState()
    for field in fields(TrainerState):
        value, default = getattr(state, field.name), getattr(usual, field.name)
        kind = (int, float) if type(default) in (int, float) else type(default)
        if default is not None and value is not None and not isinstance(value, kind):
            raise ValueError(f"{field.name} in {file.name} is {type(value).__name__}")
    if type(state.global_step) is not int or state.global_step < 0:
        raise ValueError(f"global_step in {file.name} is {state.global_step}")
    if not isinstance(state.best_metric, (int, float, type(None))):
        raise ValueError(f"best_metric in {file.name} is {type(state.best_metric).__name__}")
    return state.global_step


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


@contextmanager
def loading(checkpoint: str | os.PathLike | None) -> Iterator[None]:
    """Errors of files that are damaged, whatever reads them, as a [`CheckpointError`] of one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # pickle, torch, peft and json raise anything
        raise CheckpointError(f"{checkpoint}: cannot be loaded ({_reason(error)}); {REMEDY}") from error


def read_adapter_config(folder: str | os.PathLike) -> PeftConfig:
    """The settings of an adapter, whose files are looked at before peft reads them.

    Raises:
        CheckpointError: one is damaged or out of bounds; one line.
    """
    check_adapter_files(Path(folder), needs_base=False)
    with readable_errors(folder):
        return PeftConfig.from_pretrained(str(folder))


def check_same_parts(checkpoint: str | os.PathLike, model: torch.nn.Module) -> None:
    """Refuse a checkpoint in which other parts of the model were trained.

    Raises:
        CheckpointError: they were; one line.
    """
    checkpoint, other = Path(checkpoint), []
    is_adapter = os.path.lexists(checkpoint / ADAPTER_CONFIG)
    if is_adapter and isinstance(model, PeftModel):
        with loading(checkpoint):
            stored = read_adapter_config(checkpoint)
        own = model.peft_config[model.active_adapters[0]]
        other = [said for name, said in PARTS.items() if _plain(stored, name) != _plain(own, name)]
    elif is_adapter or (isinstance(model, PeftModel) and (checkpoint / "config.json").is_file()):
        other = ["language_model_training"]
    if other:
        raise other_options(checkpoint, f"another {' and another '.join(other)}")
    if is_adapter:
        _check_tensors(checkpoint, model)


def _check_tensors(checkpoint: Path, model: PeftModel) -> None:
    misfit = misfit_of(model, checkpoint / ADAPTER_FILE)
    if misfit is not None:
        raise CheckpointError(f"{checkpoint}: {ADAPTER_FILE} does not fit ({misfit}); {REMEDY}")


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
    found = newest_complete(output_dir)
    if found is None:
        what = "complete checkpoint" if checkpoints(output_dir) else "checkpoint"
        raise CheckpointError(f"{output_dir}: has no {what} to resume from; start without resuming, in another folder")
    return found


def newest_complete(output_dir: str | os.PathLike) -> Path | None:
    """The newest complete checkpoint of a run, or None.

    Newer ones that are not complete are warned of, and their state, if any, is renamed: a run that comes to that step
    again and is killed there would seem to have saved it.
    """
    for checkpoint in checkpoints(output_dir):
        try:
            check_complete(checkpoint)
        except CheckpointError as error:
            logger.warning(f"{str(error).removesuffix(REMEDY)}an older one is looked for")
            _set_aside(checkpoint / STATE_FILE)
        else:
            return checkpoint
    return None


def _set_aside(state: Path) -> None:
    with suppress(OSError):  # another process was first, or nothing can be written there
        state.rename(state.with_name(f"{state.name}.incomplete"))


def checkpoint_to_resume(output_dir: str | os.PathLike, resume: str | bool | None) -> str | None:
    """What `--resume` goes on from: the given checkpoint, or for True the newest complete one. Without any the run
    starts anew in the same folder, with a warning."""
    if resume is not True:
        return resume or None
    found = newest_complete(output_dir)
    if found is None:
        logger.warning(f"{output_dir}: has no complete checkpoint to go on from, so the run starts anew there")
    return None if found is None else str(found)


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
    "checkpoint_to_resume",
    "checkpoints",
    "last_checkpoint",
    "loading",
    "newest_complete",
    "other_options",
    "read_adapter_config",
]
