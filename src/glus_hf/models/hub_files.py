"""Where the files of a checkpoint lie on this machine, downloaded from the Hub if need be, so that they can be checked
before they are read."""

from __future__ import annotations

import os
from pathlib import Path

from transformers.utils import cached_file

from ..checkpoint_files.folder_check import ADAPTER_CONFIG, CONFIG, MODEL_FILES, PROCESSOR_FILES, TOKENIZER
from ..checkpoint_files.json_fields import read_fields
from ..checkpoint_files.weight_folder import INDEX_FILES, SINGLE_FILES


MODEL = (CONFIG, *MODEL_FILES[1:], ADAPTER_CONFIG)
PROCESSOR = (*PROCESSOR_FILES, TOKENIZER)
WEIGHTS = (SINGLE_FILES[0], INDEX_FILES[0])
HUB_OPTIONS = ("cache_dir", "proxies", "token", "revision", "local_files_only", "subfolder")


def fetch_folder(name_or_path, options: dict, files: tuple[str, ...]) -> Path | None:
    """The folder of a checkpoint: itself, or that of the Hub's cache, with those of `files` that there are.

    Args:
        name_or_path: folder, or name on the Hub.
        options: of `from_pretrained`; those that choose a repository, a revision and a folder in it are used.
        files: what to download from the Hub; nothing more is asked for without the first two.

    Returns:
        None without any: a file was passed, or the Hub has none or is not reached, which loading then says.

    Example:
        >>> fetch_folder(folder, {}, MODEL)  # doctest: +SKIP
        PosixPath('.../glus-tiny')
    """
    folder = Path(name_or_path, options.get("subfolder") or "")
    if os.path.exists(name_or_path):
        return folder if folder.is_dir() else None
    hub = {name: options[name] for name in HUB_OPTIONS if options.get(name) is not None}
    found: list[Path] = []
    for number, name in enumerate(files):
        if number == 2 and not found:
            return None
        found += _fetch(name_or_path, name, hub)
    shards = {str(shard) for index in found if index.name in INDEX_FILES for shard in _shard_names(index)}
    for shard in sorted(shards):
        found += _fetch(name_or_path, shard, hub)
    return found[0].parent if found else None


def _fetch(repo, name: str, hub: dict) -> list[Path]:
    path = cached_file(
        repo,
        name,
        **hub,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return [] if path is None else [Path(path)]


def _shard_names(index: Path) -> list[str]:
    """What an index names, if it can be a file beside it; the check refuses an index that names others."""
    weight_map = read_fields(index, "json").get("weight_map")
    names = weight_map.values() if isinstance(weight_map, dict) else ()
    return [name for name in names if isinstance(name, str) and name and Path(name).name == name]


__all__ = ["MODEL", "PROCESSOR", "WEIGHTS", "fetch_folder"]
