"""Where converted released checkpoints are kept, and how several processes make one once."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from ..atomic_write import acquire_lock, release_lock
from ..errors import CheckpointError


logger = logging.getLogger(__name__)
CACHE_VARIABLE = "GLUS_HF_CACHE"


def cache_folder() -> Path:
    """Where converted checkpoints are kept: `$GLUS_HF_CACHE`, or `glus_hf` in the home of the Hub's cache."""
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE]).expanduser().absolute()
    from huggingface_hub.constants import HF_HOME

    return Path(HF_HOME) / "glus_hf"


def convert_once(alias: str, folder: Path, convert: Callable[[], object]) -> str:
    """Make a folder of the cache, unless it is there. Of several processes one converts, the others wait for it.

    Args:
        alias: for the errors.
        folder: in `cache_folder`; a folder appears only when it is complete.
        convert: makes it.

    Raises:
        CheckpointError: it cannot be made; one line.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = acquire_lock(folder.with_name(f".{folder.name}.lock"), on_wait=lambda: _say_waiting(folder))
        try:
            if not (folder / "config.json").is_file():
                convert()
        finally:
            release_lock(lock, remove=False)
    except CheckpointError as error:
        raise CheckpointError(f"{alias}: {error}") from None
    except OSError as error:
        message = f"{alias}: cannot be prepared in {folder.parent} ({error}); set {CACHE_VARIABLE} to another folder"
        raise CheckpointError(message) from None
    return str(folder)


def _say_waiting(folder: Path) -> None:
    logger.warning("%s: another process is converting it in %s; waiting for it", folder.name, folder.parent)


__all__ = ["CACHE_VARIABLE", "cache_folder", "convert_once"]
