"""Which files hold the weights of a folder: one file, or the shards that its index names, none of them elsewhere."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from ..errors import CheckpointError
from ..safe_files import check_regular, open_file
from .json_fields import read_fields, shorten


INDEX_FILES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
SINGLE_FILES = ("model.safetensors", "pytorch_model.bin")
LFS_POINTER = b"version https://git-lfs"


def find_weight_files(folder: Path) -> list[Path]:
    """The weight files of a checkpoint folder: safetensors before .bin, shards as its index lists them.

    Raises:
        CheckpointError: none, or a shard is missing or outside the folder; one line.
    """
    for name in (INDEX_FILES[0], SINGLE_FILES[0], INDEX_FILES[1], SINGLE_FILES[1]):
        path = folder / name
        if os.path.lexists(path):
            return shards_of(path) if name in INDEX_FILES else [_checked(path)]
    raise CheckpointError(f"{folder}: has no weights ({', '.join(SINGLE_FILES)} or their index); download it again")


def shards_of(index: Path) -> list[Path]:
    """The files that an index names, each in its folder.

    Raises:
        CheckpointError: the index is damaged, or names a file that is missing or elsewhere; one line.
    """
    weight_map = read_fields(index, "json", "download it again").get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise CheckpointError(f"{index}: cannot be read (its weight_map names no files); download it again")
    names = sorted(set(weight_map.values()))
    if not names:
        raise CheckpointError(f"{index}: names no files; download it again")
    outside = [name for name in names if not name or Path(name).name != name or "\0" in name or "\\" in name]
    if outside:
        shown = shorten(repr(outside[0]) if not outside[0].isprintable() else outside[0])
        raise CheckpointError(f"{index}: names files outside its folder ({shown}); do not trust this checkpoint")
    missing = [name for name in names if not (index.parent / name).exists()]
    if missing:
        listed = shorten(", ".join(missing[:3]))
        raise CheckpointError(f"{index.parent}: {len(missing)} weight files are missing ({listed}); download them")
    foreign = [name for name in names if not name.endswith((".safetensors", ".bin"))]
    if foreign:
        raise CheckpointError(f"{index}: names {shorten(foreign[0])}, which holds no weights; download it again")
    return [_checked(index.parent / name) for name in names]


def refuse_pointer(file: Path) -> None:
    """Refuse what `git clone` without Git LFS leaves in the place of a large file."""
    with open_file(file, "weights", CheckpointError) as stream:
        if stream.read(len(LFS_POINTER)) == LFS_POINTER:
            raise CheckpointError(
                f"{file}: is a Git LFS pointer, not the file itself; run git lfs pull or hf download"
            )


def refuse_packed(file: Path) -> None:
    """Refuse a PyTorch file whose records are packed: a small file could fill the memory. PyTorch packs none."""
    try:
        with open_file(file, "weights", CheckpointError) as stream, zipfile.ZipFile(stream) as archive:
            packed = any(record.compress_type != zipfile.ZIP_STORED for record in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return  # an older format, or damaged: torch says so
    if packed:
        raise CheckpointError(f"{file}: its records are packed, which PyTorch does not do; save the weights again")


def _checked(file: Path) -> Path:
    check_regular(file, "weights", CheckpointError)
    return file


__all__ = ["INDEX_FILES", "SINGLE_FILES", "find_weight_files", "refuse_packed", "refuse_pointer", "shards_of"]
