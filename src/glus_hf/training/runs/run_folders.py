"""Where a run writes: looked at before it starts, not after hours of training."""

from __future__ import annotations

import os
from pathlib import Path

from ...errors import CheckpointError, ConfigError
from ..checkpoints import check_new_folder, checkpoints


def check_run_folders(config, resume: str | bool | None = None) -> None:
    """Refuse to mix two runs in a folder, and to write a model over something else.

    Args:
        config: of any family; its `export` must be new or empty.
        resume: whether (or from which checkpoint) an earlier run goes on; else the folder must be new or empty.

    Raises:
        ConfigError, CheckpointError: a folder is in use, or is a file; one line.
    """
    for name, folder in (("training.output_dir", config.training.get("output_dir")), ("export", config.export)):
        if folder and "\0" in str(folder):
            raise ConfigError(f"{name} {str(folder)!r:.80} holds a zero; choose another name")
    if config.training.get("resume_from_checkpoint"):
        raise ConfigError("training.resume_from_checkpoint is not read; remove it and pass --resume CHECKPOINT")
    output_dir = Path(config.training.get("output_dir", "trainer_output")).expanduser()  # as in transformers
    if output_dir.exists() and not output_dir.is_dir():
        raise ConfigError(f"{output_dir}: is a file; choose another training.output_dir")
    if not resume and checkpoints(output_dir):
        raise ConfigError(
            f"{output_dir}: holds checkpoints of an earlier run; pass --resume to go on with it, or choose another "
            "training.output_dir (and export), or remove the folder"
        )
    is_first = os.environ.get("RANK", "0") == "0"  # the others may find what the first has begun to write
    if is_first and not resume and output_dir.is_dir() and (found := sorted(output_dir.iterdir())):
        raise ConfigError(
            f"{output_dir}: holds {found[0].name}; choose another training.output_dir, or pass --resume if a run was "
            "broken off there"
        )
    if config.export:
        try:
            check_new_folder(config.export)
        except CheckpointError as error:
            done = "; if it is the model of this run, the run is done" if resume else ""
            raise ConfigError(f"{error}{done}; set export= or --export") from None


__all__ = ["check_run_folders"]
