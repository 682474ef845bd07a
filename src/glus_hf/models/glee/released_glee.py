"""The released checkpoints by alias: found in the cache, or downloaded and converted once."""

from __future__ import annotations

from pathlib import Path

from ...conversion.converted_cache import cache_folder, convert_once
from ...conversion.download import download_file


SPACE = "Junfeng5/GLEE_demo"
FILES = {f"glee-{name.lower()}": f"MODEL_ZOO/GLEE_{name}_joint.pth" for name in ("Lite", "Plus", "Pro")}
TOKENIZER_REPO = "openai/clip-vit-base-patch32"
BRANCH = "main"


def fetch_released(alias: str, revision: str | None = None) -> str:
    """Folder of a released checkpoint, converted. The first call downloads its file, and CLIP's tokenizer.

    Args:
        alias (`str`): "glee-lite", "glee-plus" or "glee-pro".
        revision (`str`, *optional*): commit, tag or branch of the Space, kept in a folder of its own.

    Raises:
        CheckpointError: it is not in the cache and cannot be downloaded or converted; one line.
    """
    revision = None if revision == BRANCH else revision
    folder = cache_folder() / (f"{alias}@{revision}" if revision else alias)
    if (folder / "config.json").is_file():
        return str(folder)
    return convert_once(alias, folder, lambda: _download_and_convert(alias, folder, revision or BRANCH))


def _download_and_convert(alias: str, folder: Path, revision: str) -> None:
    from .convert_glee_to_hf import convert_checkpoint

    file = Path(FILES[alias]).name
    remedy = (
        f"on a machine with access, download {FILES[alias]} of the Space {SPACE} and {TOKENIZER_REPO}, then run "
        f"glus-hf convert --source {file} --clip <{TOKENIZER_REPO.split('/')[1]}> --output {folder}"
    )
    source = download_file(SPACE, FILES[alias], remedy, revision, repo_type="space")
    convert_checkpoint(source, TOKENIZER_REPO, folder)


__all__ = ["fetch_released"]
