"""The released checkpoints by alias: found in the cache, or downloaded and converted once."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from .models.glus.checkpoint_glus import CheckpointError


@dataclass(frozen=True)
class ReleasedCheckpoint:
    """A released folder on the Hub. `revision` is a commit, or "main" where we could not look the commit up."""

    repo: str
    revision: str


# The commits of these three are not known to us: they were never downloaded where this was written. "main" follows
# the repository; conversion.json has the sha256 of every file that was converted.
RELEASED = {
    "glus-s": ReleasedCheckpoint("Swindl/GLUS-S", "main"),
    "glus-s-partial": ReleasedCheckpoint("Swindl/GLUS-S-partial", "main"),
    "glus-a": ReleasedCheckpoint("Swindl/GLUS-A", "main"),
}
SAME = {"glus-7b": "glus-s"}
ALIASES = (*SAME, *RELEASED)
CACHE_VARIABLE = "GLUS_HF_CACHE"
CONFIG_PATTERNS = ["*.json", "tokenizer.model", "sam2_config.yaml"]


def cache_folder() -> Path:
    """Where converted checkpoints are kept: `$GLUS_HF_CACHE`, or `glus_hf` in the home of the Hub's cache."""
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE]).expanduser().absolute()
    from huggingface_hub.constants import HF_HOME

    return Path(HF_HOME) / "glus_hf"


def fetch_released(alias: str) -> str:
    """Folder of a released checkpoint, converted. The first call downloads 13 GB of weights and 2 GB of CLIP.

    Several processes may call it at once: one converts, the others wait for it.

    Args:
        alias (`str`): "glus-7b" (the same as "glus-s"), "glus-s", "glus-s-partial" or "glus-a".

    Raises:
        CheckpointError: it is not in the cache and cannot be downloaded or converted; one line.
    """
    name = SAME.get(alias, alias)
    folder = cache_folder() / name
    if (folder / "config.json").is_file():  # appears only when it is complete
        return str(folder)
    from filelock import FileLock

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(str(folder.with_name(f".{name}.lock"))):
            if not (folder / "config.json").is_file():
                _remove_leftovers(folder)
                _download_and_convert(name, folder)
    except CheckpointError as error:
        raise CheckpointError(f"{alias}: {error}") from None
    except OSError as error:
        message = f"{alias}: cannot be prepared in {folder.parent} ({error}); set {CACHE_VARIABLE} to another folder"
        raise CheckpointError(message) from None
    return str(folder)


def _remove_leftovers(folder: Path) -> None:
    """What a conversion left behind that was killed; nobody else is at work while we hold the lock."""
    for path in folder.parent.glob(f".{folder.name}-*.partial"):
        if path.name.removeprefix(f".{folder.name}-").removesuffix(".partial").isalnum():
            shutil.rmtree(path, ignore_errors=True)


def _download_and_convert(name: str, folder: Path) -> None:
    from .models.glus.convert_glus import convert_checkpoint
    from .models.glus.download_glus import CLIP_PATTERNS, CLIP_REPO, download_folder

    released = RELEASED[name]
    remedy = (
        f"on a machine with access, download {released.repo} and {CLIP_REPO} (hf download), then run "
        f"glus-hf convert --source <{released.repo.split('/')[1]}> --clip <{CLIP_REPO.split('/')[1]}> "
        f"--output {folder}"
    )
    source = download_folder(released.repo, CONFIG_PATTERNS, remedy, released.revision)
    clip = download_folder(CLIP_REPO, CLIP_PATTERNS, remedy)
    convert_checkpoint(source, clip, folder, source_name=released.repo, clip_name=CLIP_REPO)


__all__ = ["ALIASES", "cache_folder", "fetch_released"]
