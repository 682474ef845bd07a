"""The released checkpoints by alias: found in the cache, or downloaded and converted once."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path

from ...conversion.converted_cache import cache_folder, convert_once
from ...errors import CheckpointError


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReleasedCheckpoint:
    """A released folder on the Hub, and how the hash of the commit to take begins."""

    repo: str
    known_commit: str | None = None


# Of the hashes we know seven digits, from the Hub's lists of files (GLUS-S in spring 2025, GLUS-A half a year later).
# The Hub takes only whole ones, which its history tells; without it the branch is followed, and another commit said.
RELEASED = {
    "glus-s": ReleasedCheckpoint("Swindl/GLUS-S", "679f666"),
    "glus-s-partial": ReleasedCheckpoint("Swindl/GLUS-S-partial"),
    "glus-a": ReleasedCheckpoint("Swindl/GLUS-A", "8c20b86"),
}
SYNONYMS = {"glus-7b": "glus-s"}
ALIASES = (*SYNONYMS, *RELEASED)
BRANCH = "main"
REVISION = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_.-]*")
CONFIG_PATTERNS = ["*.json", "tokenizer.model", "sam2_config.yaml"]


def fetch_released(alias: str, revision: str | None = None) -> str:
    """Folder of a released checkpoint, converted. The first call downloads 14.5 GB of weights and 1.7 GB of CLIP.

    Several processes may call it at once: one converts, the others wait for it. What is in the cache is used as it is,
    whatever has become of the repository.

    Args:
        alias (`str`): "glus-7b" (the same as "glus-s"), "glus-s", "glus-s-partial" or "glus-a".
        revision (`str`, *optional*): whole hash of a commit, tag or branch of the repository, kept in a folder of its
            own. Default: the commit that this version of glus-hf knows; "main" where it knows none or it is gone.

    Raises:
        CheckpointError: it is not in the cache and cannot be downloaded or converted, or `revision` is none; one line.
    """
    name, revision = SYNONYMS.get(alias, alias), None if revision == BRANCH else revision
    if revision and not REVISION.fullmatch(revision):
        raise CheckpointError(f"{alias}: {revision!r} is no revision; use the whole hash of a commit, or a tag")
    folder = cache_folder() / (f"{name}@{revision}" if revision else name)
    for cached in (folder, folder.with_name(name)):
        if (cached / "config.json").is_file() and (cached == folder or _commit_of(cached) == revision):
            return str(cached)  # a folder appears only when it is complete
    return convert_once(alias, folder, lambda: _download_and_convert(name, folder, revision))


def _commit_of(folder: Path) -> str | None:
    """The commit that a converted folder was made from."""
    try:
        return json.loads((folder / "conversion.json").read_text())["sources"]["checkpoint"]["revision"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _download_and_convert(name: str, folder: Path, revision: str | None) -> None:
    from ...conversion.download import CLIP_PATTERNS, CLIP_REPO, download_folder, full_commit
    from .convert_glus_to_hf import convert_checkpoint

    released = RELEASED[name]
    remedy = (
        f"on a machine with access, download {released.repo} and {CLIP_REPO} (hf download), then run "
        f"glus-hf convert --source <{released.repo.split('/')[1]}> --clip <{CLIP_REPO.split('/')[1]}> "
        f"--output {folder}"
    )
    if revision is None and released.known_commit:
        revision = full_commit(released.repo, released.known_commit)
    source = download_folder(released.repo, CONFIG_PATTERNS, remedy, revision or BRANCH)
    if revision is None and released.known_commit and not source.name.startswith(released.known_commit):
        logger.warning(
            "%s is at commit %s, not at %s, which this version of glus-hf knows; %s@%s stays at this commit",
            *(released.repo, source.name, released.known_commit, name, source.name),
        )
    clip = download_folder(CLIP_REPO, CLIP_PATTERNS, remedy)
    convert_checkpoint(source, clip, folder, source_name=released.repo, clip_name=CLIP_REPO)


__all__ = ["ALIASES", "fetch_released"]
