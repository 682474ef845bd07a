"""`conversion.json`: where a converted model comes from, and what of the original an export needs again."""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Mapping
from pathlib import Path

from ..checkpoint_files.json_fields import read_fields
from ..errors import CheckpointError
from .weight_files import WeightFiles, file_hash


RECORD_FILE = "conversion.json"
RECORD_FORMAT = 1
PACKAGES = ("glus-hf", "torch", "transformers", "safetensors")
SMALL_FILES = ("config.json", "tokenizer.model", "tokenizer.json", "added_tokens.json", "preprocessor_config.json")
ROTARY = ".self_attn.rotary_emb.inv_freq"
PRIVATE_FIELDS = ("_name_or_path",)  # a path on the machine that saved it


def read_json(file: Path) -> dict:
    """Content of a JSON file.

    Raises:
        CheckpointError: it is missing, damaged, too large or no object; one line.
    """
    if not os.path.lexists(file):
        raise CheckpointError(f"{file.parent}: has no {file.name}; download it again")
    return read_fields(file, remedy="download it again")


def describe_source(name: str, weights: WeightFiles, folder: Path | None = None, progress: bool = False) -> dict:
    """Name of a source (no path), the sha256 of the files read, and the commit of a folder in the Hub's cache."""
    files = weights.hashes(progress)
    for small in SMALL_FILES if folder is not None else ():
        if (folder / small).is_file():
            files[small] = file_hash(folder / small)
    described = {"name": name, "sha256": files}
    if folder is not None and folder.parent.name == "snapshots":
        described["revision"] = folder.name
    return described


def copy_original_fields(config: Mapping) -> dict:
    """What an export writes back of the original code's `config.json`."""
    return {name: value for name, value in config.items() if name not in PRIVATE_FIELDS}


def rotary_constants(checkpoint: WeightFiles) -> dict | None:
    """The rotary constants in the checkpoint, which we do not keep as weights but write back on export."""
    found = [tensor.clone() for name, tensor in checkpoint.read() if name.endswith(ROTARY)]
    if not found:
        return None
    return {"dtype": str(found[0].dtype).removeprefix("torch."), "values": found[0].double().tolist()}


def write_record(folder: Path, record: Mapping) -> None:
    """Write `conversion.json`. Nothing in it depends on time or machine, so equal conversions are equal files."""
    content = {"format": RECORD_FORMAT, **record, "versions": {name: _version(name) for name in PACKAGES}}
    (folder / RECORD_FILE).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


__all__ = ["RECORD_FILE", "describe_source", "read_json", "rotary_constants", "write_record"]
