"""The header of a safetensors file: names, types and shapes of its weights, without reading any."""

from __future__ import annotations

import json
import math
import os
import struct
from dataclasses import dataclass

from ..errors import CheckpointError
from ..safe_files import open_file
from .json_fields import parse_fields, shorten


MAX_HEADER = 64 * 10**6  # bytes; 250 for each weight, of which a model has some thousands
METADATA = "__metadata__"
BITS = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "I64": 64,
    "U64": 64,
    "F64": 64,
    "C64": 64,
}


@dataclass(frozen=True)
class StoredWeight:
    """One weight of a file.

    Attributes:
        dtype: as the format has it: "F32", "BF16", "I64", ...
        shape: of the tensor.
        num_bytes: in the file.
    """

    dtype: str
    shape: tuple[int, ...]
    num_bytes: int

    @property
    def is_floating(self) -> bool:
        return self.dtype.startswith(("F", "BF"))


def read_header(file: str | os.PathLike) -> dict[str, StoredWeight]:
    """Every weight of a safetensors file by name.

    Raises:
        CheckpointError: the file is no regular one, no safetensors file or cut short, or its header contradicts itself
            (a name twice, a type that is not known, sizes that do not fit); one line.

    Example:
        >>> read_header("model.safetensors")["lm_head.weight"].shape  # doctest: +SKIP
        (32004, 4096)
    """
    try:
        with open_file(file, "weights", CheckpointError) as stream:
            size = os.fstat(stream.fileno()).st_size
            start = stream.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if not 2 <= length <= min(size - 8, MAX_HEADER):
                raise ValueError(f"it is no safetensors file or cut short: {size} bytes, a header of {length}")
            return _parse_header(stream.read(length), size - 8 - length)
    except (CheckpointError, FileNotFoundError):
        raise
    except json.JSONDecodeError as error:
        reason = f"its header is no JSON: {error.msg}"
    except RecursionError:
        reason = "its header is nested too deeply"
    except (ValueError, OSError) as error:
        reason = shorten(error)
    raise CheckpointError(f"{file}: its weights are damaged ({reason}); copy or download them again")


def _parse_header(content: bytes, data_bytes: int) -> dict[str, StoredWeight]:
    entries = parse_fields(content)
    metadata = entries.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata are no texts")
    offsets, weights = [], {}
    for name, entry in entries.items():
        weights[name] = _parse_entry(name, entry)
        offsets.append(tuple(entry["data_offsets"]))
    end = 0
    for first, last in sorted(offsets):
        if first != end:
            raise ValueError("its weights overlap or leave gaps")
        end = last
    if end != data_bytes:
        raise ValueError(f"{end} bytes of weights are announced, {data_bytes} are there")
    return weights


def _parse_entry(name: str, entry: object) -> StoredWeight:
    if not isinstance(entry, dict):
        raise ValueError(f"{shorten(name)} is no object")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in BITS:
        raise ValueError(f"{shorten(name)} has the type {shorten(repr(dtype))}")
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"{shorten(name)} has no shape or no place in the file")
    num_bytes = math.prod(shape) * BITS[dtype] // 8
    if offsets[1] - offsets[0] != num_bytes:
        raise ValueError(f"{shorten(name)} takes {num_bytes} bytes, but has {offsets[1] - offsets[0]}")
    return StoredWeight(dtype, tuple(shape), num_bytes)


def _are_sizes(values: object) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**63 for value in values)


__all__ = ["StoredWeight", "read_header"]
