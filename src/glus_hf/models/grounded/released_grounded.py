"""The aliases: a detector and SAM-2 from the Hub, put together into one folder once."""

from __future__ import annotations

from pathlib import Path

from ...conversion.converted_cache import cache_folder, convert_once


PAIRS = {
    "grounded-tiny": ("IDEA-Research/grounding-dino-tiny", "facebook/sam2.1-hiera-tiny"),
    "grounded-base": ("IDEA-Research/grounding-dino-base", "facebook/sam2.1-hiera-base-plus"),
}
DETECTOR_FILES = ["*.json", "vocab.txt"]
MASK_FILES = ["*.json"]


def fetch_released(alias: str, revision: str | None = None) -> str:
    """Folder of a pair. The first call downloads both models.

    Args:
        alias (`str`): "grounded-tiny" or "grounded-base".
        revision: refused: the pair has two repositories.

    Raises:
        CheckpointError: they are not in the cache and cannot be downloaded or put together; one line.
    """
    from ...errors import CheckpointError

    if revision not in (None, "main"):
        raise CheckpointError(f"{alias}: stands for two repositories and has no revision; leave it out")
    folder = cache_folder() / alias
    if (folder / "config.json").is_file():
        return str(folder)
    return convert_once(alias, folder, lambda: _download_and_join(alias, folder))


def _download_and_join(alias: str, folder: Path) -> None:
    from ...conversion.download import download_folder
    from .join_grounded import join_checkpoints

    detector, masks = PAIRS[alias]
    remedy = (
        f"on a machine with access, download {detector} and {masks} (hf download), or run there with this alias and "
        f"copy {folder}"
    )
    join_checkpoints(
        download_folder(detector, DETECTOR_FILES, remedy), download_folder(masks, MASK_FILES, remedy), folder
    )


__all__ = ["fetch_released"]
