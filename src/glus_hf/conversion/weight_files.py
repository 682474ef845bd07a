"""Read weights file by file, write them shard by shard: never more than a part of a checkpoint is in memory."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..checkpoint_files.safetensors_header import read_header
from ..checkpoint_files.weight_folder import INDEX_FILES, find_weight_files, refuse_packed, refuse_pointer
from ..errors import CheckpointError, UserError


SMALLEST_SHARD = 64 * 2**20
UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
HASH_BLOCK = 2**20


# ---- reading


@dataclass
class WeightFiles:
    """The weights of one checkpoint: its files, and how its names become those of the layout that is converted.

    Args:
        role (`str`): what to call it in messages and in `conversion.json`.
        files (`list[Path]`): from [`find_weight_files`], or one file.
        rename (`Callable[[str], str | None]`): name in the layout; `None` leaves the weight out.
        change (`Callable[[str, Tensor], Tensor]`): applied to each weight, by its new name. Must work on shapes alone
            (tensors on the device "meta").
    """

    role: str
    files: list[Path]
    rename: Callable[[str], str | None] = lambda name: name
    change: Callable[[str, Tensor], Tensor] = lambda name, tensor: tensor
    _shapes: dict[str, Tensor] | None = field(default=None, repr=False)

    def read(self) -> Iterator[tuple[str, Tensor]]:
        """Every weight under its new name. Mapped, not read: bytes come from the disk when they are used."""
        for name, tensor in self._read_raw():
            yield name, self.change(name, tensor)

    def shapes(self) -> dict[str, Tensor]:
        """Every weight as a tensor without data."""
        if self._shapes is None:
            self._shapes = {}
            for name, tensor in self._read_raw():
                if name in self._shapes:
                    raise CheckpointError(f"{self.role}: {name} is in two of its files; keep one set of weights")
                self._shapes[name] = self.change(name, torch.empty_like(tensor, device="meta"))
        return self._shapes

    def _read_raw(self) -> Iterator[tuple[str, Tensor]]:
        for file in self.files:
            for name, tensor in read_weights(file):
                new_name = self.rename(name)
                if new_name is not None:
                    yield new_name, tensor

    def largest_file(self) -> int:
        """Bytes."""
        return max(file.stat().st_size for file in self.files)

    def hashes(self, progress: bool = False) -> dict[str, str]:
        """sha256 by name of file. A released checkpoint has 14.5 GB, so there is a bar to show."""
        with progress_bar("hashing", sum(file.stat().st_size for file in self.files), progress) as bar:
            return {file.name: file_hash(file, bar.update) for file in self.files}


def read_weights(file: Path) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors of one .safetensors or PyTorch file. Only tensors are ever unpickled.

    Raises:
        CheckpointError: it cannot be read, or holds something else; one line.
    """
    refuse_pointer(file)
    if file.suffix == ".safetensors":
        read_header(file)
        try:
            with safe_open(file, "pt") as weights:
                for name in weights.keys():  # noqa: SIM118 - not a dict
                    yield name, weights.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{file}: cannot be read ({error}); download it again") from None
        return
    refuse_packed(file)
    state = _load_pickle(file)
    while state:  # let each tensor go when it is used
        name = next(iter(state))
        yield name, state.pop(name)


def _load_pickle(file: Path) -> dict[str, Tensor]:
    try:
        state = _unpickle(file)
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{file}: is damaged, or holds more than tensors and is refused, because that could run code; download it "
            "again"
        ) from None
    except Exception as error:  # a damaged pickle can make the unpickler raise anything
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise CheckpointError(f"{file}: cannot be read ({reason}); download it again") from None
    if isinstance(state, Mapping) and isinstance(state.get("model"), Mapping):  # as Meta's files have it
        state = state["model"]
    if not isinstance(state, Mapping) or not all(_is_weight(name, value) for name, value in state.items()):
        raise CheckpointError(f"{file}: holds no weights by name; pass a checkpoint's weight file")
    return dict(state)


def _unpickle(file: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a foreign protocol; what cannot be read is an error
        try:
            return torch.load(file, map_location="cpu", mmap=True, weights_only=True)
        except RuntimeError as error:
            if "mmap" not in str(error):
                raise
            return torch.load(file, map_location="cpu", weights_only=True)  # written before PyTorch 1.6


def _is_weight(name, value) -> bool:
    if not (isinstance(name, str) and isinstance(value, Tensor) and value.layout is torch.strided):
        return False
    return value.nbytes <= value.untyped_storage().nbytes()  # else one number fills a large tensor


def file_hash(file: Path, on_read: Callable[[int], object] = lambda num_bytes: None) -> str:
    """sha256 of a file, read block by block."""
    digest = hashlib.sha256()
    with open(file, "rb") as stream:
        while block := stream.read(HASH_BLOCK):
            digest.update(block)
            on_read(len(block))
    return digest.hexdigest()


# ---- writing


def parse_size(size: int | str) -> int:
    """Bytes of "5GB", "200MB", "64MiB" or a number.

    Example:
        >>> parse_size("5GB")
        5000000000
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgKMG]?i?[bB]?)\s*", str(size))
    if match is None or (match[2] and match[2].upper() not in UNITS) or float(match[1]) <= 0:
        raise UserError(f"{size!r} is no size; write it as 5GB or 200MB")
    return int(float(match[1]) * UNITS[match[2].upper()])


def progress_bar(label: str, num_bytes: int, progress: bool):
    """A bar that counts bytes, for `with`."""
    from transformers.utils import logging as transformers_logging

    return transformers_logging.tqdm(total=num_bytes, desc=label, unit="B", unit_scale=True, disable=not progress)


def shard_limit(max_shard_size: int | str, sources: Sequence) -> int:
    """Largest shard to write, in bytes: at most half of the largest file read, so that what is mapped of the old files
    and converted for the new one stays below twice that file."""
    largest = max(source.largest_file() for source in sources)
    return min(parse_size(max_shard_size), max(largest // 2, SMALLEST_SHARD))


class ShardWriter:
    """Writes weights into `model.safetensors`, or into shards of at most `limit` bytes with an index.

    Example:

        >>> writer = ShardWriter(folder, limit=5 * 10**9)  # doctest: +SKIP
        >>> for name, tensor in weights.items():  # doctest: +SKIP
        ...     writer.add(name, tensor)
        >>> writer.finish()  # doctest: +SKIP
    """

    def __init__(self, folder: Path, limit: int, on_written: Callable[[int], object] = lambda num_bytes: None):
        self.folder, self.limit, self.on_written = folder, limit, on_written
        self.pending: dict[str, Tensor] = {}
        self.pending_bytes = self.total_bytes = self.num_parameters = 0
        self.shards: list[list[str]] = []

    def add(self, name: str, tensor: Tensor) -> None:
        if self.pending and self.pending_bytes + tensor.nbytes > self.limit:
            self._flush()
        tensor = tensor.contiguous()
        if any(tensor.data_ptr() == other.data_ptr() for other in self.pending.values()):
            tensor = tensor.clone()  # one tensor under two names, which safetensors refuses
        self.pending[name] = tensor
        self.pending_bytes += tensor.nbytes
        self.num_parameters += tensor.numel()

    def finish(self) -> None:
        """Write what is left, and give the shards their names."""
        self._flush()
        if len(self.shards) == 1:
            self._part(0).rename(self.folder / "model.safetensors")
            return
        weight_map = {}
        for index, names in enumerate(self.shards):
            shard = f"model-{index + 1:05d}-of-{len(self.shards):05d}.safetensors"
            self._part(index).rename(self.folder / shard)
            weight_map |= dict.fromkeys(names, shard)
        metadata = {"total_parameters": self.num_parameters, "total_size": self.total_bytes}
        content = {"metadata": metadata, "weight_map": dict(sorted(weight_map.items()))}
        (self.folder / INDEX_FILES[0]).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def _part(self, index: int) -> Path:
        return self.folder / f"part-{index}.safetensors"

    def _flush(self) -> None:
        part = self._part(len(self.shards))
        try:
            save_file(self.pending, part, metadata={"format": "pt"})
        except SafetensorError as error:  # a full disk
            raise CheckpointError(f"{part}: cannot be written ({error}); make room or choose another output") from None
        part.chmod(self.folder.stat().st_mode & 0o666)  # safetensors lets only the owner read
        self.shards.append(list(self.pending))
        self.total_bytes += self.pending_bytes
        self.on_written(self.pending_bytes)
        self.pending, self.pending_bytes = {}, 0


__all__ = [
    "ShardWriter",
    "WeightFiles",
    "find_weight_files",
    "read_weights",
    "shard_limit",
]
