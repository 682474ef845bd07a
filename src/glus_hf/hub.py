"""Names of checkpoints: those in the package and the released ones, and the folders they are in."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from .errors import CheckpointError
from .model_families import PACKAGE, RELEASED, load_module


PACKAGED = {name: f"checkpoints/{name}" for name in ("glus-tiny", "glus-selector-tiny", "glee-tiny")}
"""Checkpoints in the package: alias -> folder, relative to the package."""

DEFAULT_MODEL = "glus-tiny"


def resolve_checkpoint(name_or_path: str | os.PathLike, revision: str | None = None) -> str:
    """Turn the alias of a bundled or released checkpoint into its folder.

    A folder of that name in the current directory wins if it holds a `config.json`. A released checkpoint ("glus-7b")
    is downloaded and converted on first use, which takes a while; later it comes from the cache. "glus-7b@COMMIT" is
    the alias at one commit. Everything else (another folder, a name on the Hub) is returned unchanged.

    Args:
        name_or_path: alias, folder or Hub name.
        revision: commit of a released checkpoint; the same as "alias@commit".

    Returns:
        A folder or Hub name for any `from_pretrained`.

    Raises:
        CheckpointError: a released checkpoint that is not in the cache and cannot be downloaded, or a bundled
            checkpoint whose folder is missing.

    Example:
        >>> os.path.basename(resolve_checkpoint("glus-tiny"))
        'glus-tiny'
    """
    name = os.fspath(name_or_path)
    if name and os.path.isfile(os.path.join(name, "config.json")):
        return name
    alias, _, commit = name.partition("@")
    if alias in RELEASED:
        return _fetch(alias, commit or revision)
    if name not in PACKAGED:
        return name
    folder = packaged_folder(name)
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{name}: its folder {folder} is missing or incomplete; install glus-hf again")
    return str(folder)


def is_alias(name: str) -> bool:
    """Whether this is the alias of a bundled or released checkpoint, at any revision."""
    return name in PACKAGED or name.partition("@")[0] in RELEASED


def is_packaged(folder: str | os.PathLike) -> bool:
    """Whether this is the folder of a bundled checkpoint, which came with the code and is trusted as much."""
    found = os.path.realpath(folder)
    return any(found == os.path.realpath(packaged_folder(alias)) for alias in PACKAGED)


def packaged_folder(alias: str) -> Path:
    """Folder of a bundled checkpoint; `KeyError` for an unknown alias."""
    package = importlib.util.find_spec(PACKAGE)  # not this file: it may run beside a pushed model
    root = Path(__file__).parent if package is None else Path(package.submodule_search_locations[0])
    return root / PACKAGED[alias]


def _fetch(alias: str, revision: str | None) -> str:
    module = load_module(RELEASED[alias])
    if module is None:
        raise CheckpointError(f"{alias}: is downloaded and converted by the package; pip install glus-hf")
    return module.fetch_released(alias, revision)
