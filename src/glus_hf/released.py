"""The released checkpoints by alias: found in the cache, or downloaded and converted once."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .models.glus.checkpoint_glus import CheckpointError


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReleasedCheckpoint:
    """A released folder on the Hub, and the start of the commit that its branch "main" was last seen at."""

    repo: str
    known_commit: str | None = None


# The Hub takes only whole hashes, and of these we know seven digits, from its lists of files (GLUS-S in spring 2025,
# GLUS-A half a year later). So the branch is followed, conversion.json says where it was, and another commit is said.
RELEASED = {
    "glus-s": ReleasedCheckpoint("Swindl/GLUS-S", "679f666"),
    "glus-s-partial": ReleasedCheckpoint("Swindl/GLUS-S-partial"),
    "glus-a": ReleasedCheckpoint("Swindl/GLUS-A", "8c20b86"),
}
SAME = {"glus-7b": "glus-s"}
ALIASES = (*SAME, *RELEASED)
BRANCH = "main"
REVISION = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_.-]*")
CACHE_VARIABLE = "GLUS_HF_CACHE"
CONFIG_PATTERNS = ["*.json", "tokenizer.model", "sam2_config.yaml"]


def cache_folder() -> Path:
    """Where converted checkpoints are kept: `$GLUS_HF_CACHE`, or `glus_hf` in the home of the Hub's cache."""
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE]).expanduser().absolute()
    from huggingface_hub.constants import HF_HOME

    return Path(HF_HOME) / "glus_hf"


def fetch_released(alias: str, revision: str | None = None) -> str:
    """Folder of a released checkpoint, converted. The first call downloads 14.5 GB of weights and 1.7 GB of CLIP.

    Several processes may call it at once: one converts, the others wait for it. What is in the cache is used as it is,
    whatever has become of the repository.

    Args:
        alias (`str`): "glus-7b" (the same as "glus-s"), "glus-s", "glus-s-partial" or "glus-a".
        revision (`str`, *optional*): whole hash of a commit, tag or branch of the repository; kept beside that of
            "main", the default.

    Raises:
        CheckpointError: it is not in the cache and cannot be downloaded or converted, or `revision` is none; one line.
    """
    name, revision = SAME.get(alias, alias), None if revision == BRANCH else revision
    if revision and not REVISION.fullmatch(revision):
        raise CheckpointError(f"{alias}: {revision!r} is no revision; use the whole hash of a commit, or a tag")
    folder = cache_folder() / (f"{name}@{revision}" if revision else name)
    for place in (folder, folder.with_name(name)):
        if (place / "config.json").is_file() and (place == folder or _commit_of(place) == revision):
            return str(place)  # a folder appears only when it is complete
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _lock(folder):
            if not (folder / "config.json").is_file():
                _download_and_convert(name, folder, revision)
    except CheckpointError as error:
        raise CheckpointError(f"{alias}: {error}") from None
    except OSError as error:
        message = f"{alias}: cannot be prepared in {folder.parent} ({error}); set {CACHE_VARIABLE} to another folder"
        raise CheckpointError(message) from None
    return str(folder)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """One process at a time; the others say that they wait."""
    from filelock import FileLock, Timeout

    lock = FileLock(str(folder.with_name(f".{folder.name}.lock")))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.warning("%s: another process is converting it in %s; waiting for it", folder.name, folder.parent)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _commit_of(folder: Path) -> str | None:
    """The commit that a converted folder was made from."""
    try:
        return json.loads((folder / "conversion.json").read_text())["sources"]["checkpoint"]["revision"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _download_and_convert(name: str, folder: Path, revision: str | None) -> None:
    from .models.glus.convert_glus import convert_checkpoint
    from .models.glus.download_glus import CLIP_PATTERNS, CLIP_REPO, download_folder

    released = RELEASED[name]
    remedy = (
        f"on a machine with access, download {released.repo} and {CLIP_REPO} (hf download), then run "
        f"glus-hf convert --source <{released.repo.split('/')[1]}> --clip <{CLIP_REPO.split('/')[1]}> "
        f"--output {folder}"
    )
    source = download_folder(released.repo, CONFIG_PATTERNS, remedy, revision or BRANCH)
    if revision is None and released.known_commit and not source.name.startswith(released.known_commit):
        logger.warning(
            "%s is at commit %s, not at %s, which this version of glus-hf knows; %s@%s stays at this commit",
            *(released.repo, source.name, released.known_commit, name, source.name),
        )
    clip = download_folder(CLIP_REPO, CLIP_PATTERNS, remedy)
    convert_checkpoint(source, clip, folder, source_name=released.repo, clip_name=CLIP_REPO)


__all__ = ["ALIASES", "cache_folder", "fetch_released"]
