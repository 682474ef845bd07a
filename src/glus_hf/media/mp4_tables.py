"""Whether the tables of an mp4 or mov agree: how many pictures it has, and in which chunk of the file each lies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np


MAX_TABLE = 1 << 28  # bytes of one table: 67 million pictures, or chunks
_HOLDS_BOXES = {b"moov", b"trak", b"mdia", b"minf", b"stbl"}


def table_problem(file: BinaryIO, size: int) -> str | None:
    """What contradicts in the tables of the tracks of pictures; None if nothing does, or the file has none.

    Decoders take the smaller of two numbers that differ, so pictures would be missing at the end, or lie elsewhere.

    Args:
        file: open at any place.
        size: of the file in bytes.
    """
    tables: dict[bytes, tuple[int, int]] = {}
    for name, start, end in [*_boxes(file, 0, size), (b"trak", size, size)]:
        if name == b"trak":  # the tables that were found belong to the track before
            if problem := _track_problem(file, tables):
                return problem
            tables = {}
        else:
            tables.setdefault(name, (start, end))  # the first handler says what a track holds
    return None


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, end) of the content of boxes one after another, and of those inside them."""
    while start + 8 <= end:
        file.seek(start)
        length, name, begin = int.from_bytes(file.read(4), "big"), file.read(4), start + 8
        if length == 1:
            length, begin = int.from_bytes(file.read(8), "big"), start + 16
        length = length or end - start
        stop = min(start + length, end)
        if stop < begin:
            return
        yield name, begin, stop
        if name in _HOLDS_BOXES:
            yield from _boxes(file, begin, stop)
        start = stop


def _track_problem(file: BinaryIO, tables: dict[bytes, tuple[int, int]]) -> str | None:
    chunk_table = next((name for name in (b"stco", b"co64") if name in tables), None)
    if chunk_table is None or not {b"hdlr", b"stsz", b"stsc"} <= tables.keys() or not _has_pictures(file, tables):
        return None
    num_samples, num_chunks = _number(file, tables[b"stsz"], 8), _number(file, tables[chunk_table], 4)
    if not num_samples or not num_chunks:  # a file in fragments
        return None
    runs = _read_table(file, tables[b"stsc"], columns=3)
    times = _read_table(file, tables[b"stts"], columns=2) if b"stts" in tables else None
    if runs is not None and (problem := _chunks_problem(runs, num_samples, num_chunks)):
        return problem
    if times is not None and times[:, 0].sum() < num_samples:
        return f"its header has {num_samples} pictures, but times of {times[:, 0].sum()}"
    return None


def _has_pictures(file: BinaryIO, tables: dict[bytes, tuple[int, int]]) -> bool:
    file.seek(tables[b"hdlr"][0] + 8)
    return file.read(4) == b"vide"


def _number(file: BinaryIO, place: tuple[int, int], offset: int) -> int:
    file.seek(place[0] + offset)
    return int.from_bytes(file.read(4), "big")


def _read_table(file: BinaryIO, place: tuple[int, int], columns: int) -> np.ndarray | None:
    """Rows of 32-bit numbers behind their count; None where the box has no room for them."""
    count = _number(file, place, 4)
    if not 0 < 4 * columns * count <= min(place[1] - place[0] - 8, MAX_TABLE):
        return None
    return np.frombuffer(file.read(4 * columns * count), ">u4").reshape(-1, columns).astype(np.int64)


def _chunks_problem(runs: np.ndarray, num_samples: int, num_chunks: int) -> str | None:
    """Each row of `runs` says from which chunk on a chunk has so many pictures. The last chunk may have fewer."""
    first, per_chunk = runs[:, 0], runs[:, 1]
    lengths = np.diff(first, append=num_chunks + 1)
    if first[0] != 1 or (lengths <= 0).any() or per_chunk.max() >= 1 << 31:
        return "its header puts pictures into chunks that cannot be"
    held = int((lengths * per_chunk).sum())
    if not held - int(per_chunk[-1]) < num_samples <= held:
        return f"its header has {num_samples} pictures, but room for {held} in its chunks"
    return None


__all__ = ["table_problem"]
