"""Tracks of run-length masks, one mask or None per frame: check them, and unite those of several objects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask

from .dataset_files import DatasetFileError


MAX_PIXELS = 1 << 28
MAX_RUN_SYMBOLS = 6  # 30 bits hold every run of a mask of MAX_PIXELS, and its difference to another
Rle = dict
Track = list  # one Rle or None per frame


def clean_track(
    track, num_frames: int, size: tuple[int, int] | None, name: str
) -> tuple[Track, tuple[int, int] | None]:
    """Check the masks of one object and bring them into one form.

    Args:
        track: one COCO run-length dict or None per frame; `counts` is a compressed string, bytes or a list of runs.
        num_frames: length it must have.
        size: `(height, width)` the masks must have; None takes the first mask's.
        name: file and id, for errors.

    Returns:
        The track with `{"size": [height, width], "counts": str}` per visible frame, and None where the object is
        absent (null or empty mask); and `(height, width)`, None if nothing told it.

    Raises:
        DatasetFileError: the length, a size or the runs are wrong.

    Example:
        >>> clean_track([None, {"size": [2, 3], "counts": [1, 2, 3]}], 2, (2, 3), "mask_dict.json: annotation 7")
        ([None, {'size': [2, 3], 'counts': '123'}], (2, 3))
    """
    if not isinstance(track, list):
        raise DatasetFileError(f"{name} is a {type(track).__name__}, not a list of masks")
    if len(track) != num_frames:
        raise DatasetFileError(f"{name} has {len(track)} masks but its video has {num_frames} frames")
    present = [index for index, rle in enumerate(track) if rle is not None]
    counts = []
    for index in present:
        rle = track[index]
        size = _check_size(rle, size, f"{name}, mask {index}")
        counts.append(_counts_bytes(rle["counts"], size, f"{name}, mask {index}"))
    cleaned: Track = [None] * num_frames
    if present:
        areas = _check_runs(counts, size[0] * size[1], [f"{name}, mask {index}" for index in present])
        for index, text, area in zip(present, counts, areas, strict=True):
            if area:
                cleaned[index] = {"size": list(size), "counts": text.decode("ascii")}
    return cleaned, size


def unite_tracks(tracks: Sequence[Track], num_frames: int) -> Track:
    """Union per frame of several objects' tracks; None where all are absent. No track at all gives only None.

    Example:
        >>> left, right = {"size": [1, 4], "counts": "013"}, {"size": [1, 4], "counts": "31"}
        >>> unite_tracks([[left, None], [right, None]], 2)
        [{'size': [1, 4], 'counts': '0120'}, None]
    """
    if len(tracks) == 1:
        return list(tracks[0])
    united: Track = []
    for index in range(num_frames):
        visible = [track[index] for track in tracks if track[index] is not None]
        if len(visible) < 2:
            united.append(visible[0] if visible else None)
            continue
        rle = coco_mask.merge([{"size": rle["size"], "counts": rle["counts"].encode("ascii")} for rle in visible])
        united.append({"size": list(visible[0]["size"]), "counts": rle["counts"].decode("ascii")})
    return united


def check_rle(rle, size: tuple[int, int], name: str) -> bytes:
    """Compressed `counts` of one mask that must have a size, safe to give to pycocotools.

    Raises:
        DatasetFileError: the size or the runs are wrong.

    Example:
        >>> check_rle({"size": [2, 3], "counts": [1, 2, 3]}, (2, 3), "mask 7")
        b'123'
    """
    _check_size(rle, size, name)
    counts = _counts_bytes(rle["counts"], size, name)
    _check_runs([counts], size[0] * size[1], [name])
    return counts


def _check_size(rle, size: tuple[int, int] | None, name: str) -> tuple[int, int]:
    if not isinstance(rle, dict) or not {"size", "counts"} <= rle.keys():
        raise DatasetFileError(f"{name}: a mask must be null or have 'size' and 'counts'")
    found = rle["size"]
    if not isinstance(found, (list, tuple)) or len(found) != 2 or not all(isinstance(side, int) for side in found):
        raise DatasetFileError(f"{name}: 'size' must be [height, width], got {found!r}")
    if min(found) < 1 or found[0] * found[1] > MAX_PIXELS:
        raise DatasetFileError(f"{name}: 'size' {list(found)} is not that of a video frame")
    if size is not None and tuple(found) != tuple(size):
        raise DatasetFileError(
            f"{name} is {list(found)} (height, width) but {list(size)} was expected: it may belong to another video"
        )
    return tuple(found)


def _counts_bytes(counts, size: tuple[int, int], name: str) -> bytes:
    try:
        if isinstance(counts, list):
            if not counts or not all(isinstance(run, int) and run >= 0 for run in counts) or sum(counts) >= 1 << 31:
                raise ValueError
            counts = coco_mask.frPyObjects({"size": list(size), "counts": counts}, *size)["counts"]
        if isinstance(counts, str):
            counts = counts.encode("ascii")
        if not isinstance(counts, bytes) or not 0 < len(counts) <= MAX_RUN_SYMBOLS * (size[0] * size[1] + 1):
            raise ValueError
    except ValueError:
        raise DatasetFileError(f"{name}: its run lengths cannot be decoded") from None
    return counts


def _check_runs(strings: list[bytes], num_pixels: int, names: list[str]) -> np.ndarray:
    """Check all masks of a track at once, because pycocotools trusts its input; returns areas in pixels.

    A compressed mask is a string of six-bit symbols, a run takes one or more of them (five bits each, low first, the
    sixth says "more"), and from the fourth run on each is relative to the one two back.
    """
    symbols = np.frombuffer(b"".join(strings), dtype=np.uint8).astype(np.int32) - 48
    stops = np.cumsum([len(text) for text in strings])
    if symbols.min() < 0 or symbols.max() > 63:
        at = int(np.flatnonzero((symbols < 0) | (symbols > 63))[0])
        raise DatasetFileError(f"{names[np.searchsorted(stops, at, 'right')]}: a foreign character in 'counts'")
    ends = np.flatnonzero(symbols & 0x20 == 0)
    unfinished = symbols[stops - 1] & 0x20 != 0
    if unfinished.any():
        raise DatasetFileError(f"{names[int(np.argmax(unfinished))]}: 'counts' ends in the middle of a number")
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    owner = np.searchsorted(stops, ends, "right")  # the mask of each run
    if lengths.max() > MAX_RUN_SYMBOLS:
        raise DatasetFileError(f"{names[owner[int(np.argmax(lengths))]]}: a run in 'counts' is too long")
    shifts = 5 * (np.arange(len(symbols), dtype=np.int32) - np.repeat(starts, lengths).astype(np.int32))
    runs = np.add.reduceat((symbols & 0x1F) << shifts, starts).astype(np.int64)
    runs -= np.where(symbols[ends] & 0x10, 1 << (5 * lengths), 0)
    first = np.searchsorted(owner, np.arange(len(strings)))
    place = np.arange(len(runs)) - first[owner]
    odd = place % 2 == 1
    for chosen in (odd, ~odd & (place > 0)):
        runs[chosen] = _cumulative_per_owner(runs[chosen], owner[chosen])
    bad = (np.add.reduceat(runs, first) != num_pixels) | (np.minimum.reduceat(runs, first) < 0)
    if bad.any():
        raise DatasetFileError(f"{names[int(np.argmax(bad))]}: its runs do not cover the mask's {num_pixels} pixels")
    return np.add.reduceat(np.where(odd, runs, 0), first)


def _cumulative_per_owner(values: np.ndarray, owner: np.ndarray) -> np.ndarray:
    if not len(values):
        return values
    total = np.cumsum(values)
    first = np.flatnonzero(np.diff(owner, prepend=-1))
    before = total[first] - values[first]
    return total - np.repeat(before, np.diff(first, append=len(values)))
