"""The folder that a converter writes, and the files it is made from."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from ..atomic_write import new_folder
from ..errors import CheckpointError
from .plan import ConversionPlan
from .provenance import write_record
from .weight_files import shard_limit


def write_folder(output, plan: ConversionPlan, record: Callable, max_shard_size, progress, processor, copies) -> Path:
    """Check the plan and write the output folder: weights, config, processor, copies of files and the record, which
    is asked for last: it hashes the sources, and what does not fit is to be said before that."""
    config, limit = plan.config, shard_limit(max_shard_size, plan.sources)
    plan.check()
    config.architectures, config.dtype = [plan.architecture], plan.model_dtype()
    output = Path(output).absolute()
    with new_folder(output) as folder:
        plan.write(folder, limit, progress)
        config.save_pretrained(folder)
        if processor is not None:
            processor.save_pretrained(folder)
        for file in copies:
            if file.is_file():
                shutil.copy2(file, folder / file.name)
        write_record(folder, record())
    return output


def existing_folder(path: str | os.PathLike) -> Path:
    path = Path(path).absolute()
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such folder; check the path")
    return path


def existing_file(path: str | os.PathLike) -> Path:
    path = Path(path).absolute()
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; check the path")
    return path


__all__ = ["existing_file", "existing_folder", "write_folder"]
