"""The alias `sam3`: facebook/sam3, whose weights are gated, in the form that this package reads."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from transformers import AutoConfig, AutoTokenizer, Sam3VideoModel

from ...conversion.converted_cache import cache_folder, convert_once
from ...conversion.output_folder import write_folder
from ...conversion.provenance import describe_source
from ...conversion.weight_files import WeightFiles, find_weight_files
from ...errors import CheckpointError
from ..checkpoint_loading import check_files, readable_errors
from ..hub_parts import image_statistics
from ..joined_parts import PartsPlan, name_in_model
from .configuration_sam3_video import Sam3PhraseConfig
from .modeling_sam3_video import Sam3PhraseForVideoSegmentation
from .processing_sam3_video import Sam3PhraseProcessor


REPO = "facebook/sam3"
FILES = ["*.json", "*.txt"]
REMEDY = (
    f"its weights are gated: ask for access on https://huggingface.co/{REPO}, log in with hf auth login and run this "
    "again; grounded-tiny needs no access"
)


def fetch_released(alias: str, revision: str | None = None) -> str:
    """Folder of SAM 3. The first call downloads and converts it: 3.4 GB, twice.

    Args:
        alias (`str`): "sam3".
        revision: of the repository.

    Raises:
        CheckpointError: it is not in the cache and cannot be downloaded; one line that says how to ask for access.
    """
    from ...conversion.download import download_folder

    folder = cache_folder() / (alias if revision in (None, "main") else f"{alias}-{revision}")
    if (folder / "config.json").is_file():
        return str(folder)
    return convert_once(
        alias, folder, lambda: convert_sam3(download_folder(REPO, FILES, REMEDY, revision), folder, progress=False)
    )


def convert_sam3(
    source: str | os.PathLike,
    output: str | os.PathLike,
    dtype: str = "keep",
    max_shard_size: int | str = "5GB",
    progress: bool = True,
) -> Path:
    """Write a folder for `Sam3PhraseForVideoSegmentation.from_pretrained` from one of SAM 3, a shard at a time.

    Args:
        source: folder of `facebook/sam3`, or of a `Sam3VideoModel` that was saved with its tokenizer.
        output: must not exist.
        dtype: "keep", or of all weights.
        max_shard_size: largest weight file.
        progress: show a bar.

    Raises:
        CheckpointError: it holds another model, or its weights do not fit; one line.
    """
    source = Path(source).absolute()
    check_files(source, {}, of_model=True)
    check_files(source, {}, of_model=False)
    with readable_errors(source):
        sam3 = AutoConfig.from_pretrained(source, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    if sam3.model_type != "sam3_video":
        raise CheckpointError(f"{source}: holds a {sam3.model_type!r} model, no SAM 3 for videos; use {REPO}")
    config = Sam3PhraseConfig(sam3_config=sam3.to_dict())
    with torch.device("meta"):
        made = Sam3VideoModel(config.sam3_config)
    weights = WeightFiles(str(source), find_weight_files(source), name_in_model("sam3", made))
    statistics = image_statistics(source)
    known = {} if statistics is None else {"mask_image_mean": statistics[0], "mask_image_std": statistics[1]}
    processor = Sam3PhraseProcessor(tokenizer, mask_size=config.sam3_config.image_size, **known)
    plan = PartsPlan(Sam3PhraseForVideoSegmentation, config, [weights], dtype)
    record = lambda: {"kind": "sam3", "sources": {"sam3": describe_source(source.name, weights, source, progress)}}
    return write_folder(output, plan, record, max_shard_size, progress, processor, [])


__all__ = ["convert_sam3", "fetch_released"]
