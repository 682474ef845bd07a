"""Run-length masks: encode, decode and check them; tracks of them, one mask or None per frame, and their unions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask

from ..errors import DatasetContentError
from .masks import boolean_mask
from .sizes import check_size


MAX_PIXELS = 1 << 28
MAX_RUN_SYMBOLS = 6  # 30 bits hold every run of a mask of MAX_PIXELS, and its difference to another
Rle = dict
Track = list  # one Rle or None per frame


def encode_rle(mask: np.ndarray) -> dict:
    """Encode one mask as a COCO run-length dict that `json.dump` accepts.

    Args:
        mask: `[height, width]`, bool.

    Returns:
        `{"size": [height, width], "counts": str}`.

    Raises:
        ValueError: the mask is not a boolean `[height, width]` array.

    Example:
        >>> encode_rle(np.eye(2, dtype=bool))["size"]
        [2, 2]
    """
    mask = boolean_mask(mask)
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def decode_rle(rle: dict | None, size: tuple[int, int]) -> np.ndarray:
    """Decode one COCO run-length dict; `None`, which datasets write for an absent object, gives an empty mask.

    Args:
        rle: `{"size": [height, width], "counts": ...}` with `counts` a string, bytes or a list of runs; or None.
        size: `(height, width)` the mask must have.

    Returns:
        `[height, width]`, bool.

    Raises:
        ValueError: `rle` is malformed or belongs to another size.

    Example:
        >>> bool(decode_rle(None, (4, 6)).any())
        False
    """
    height, width = (int(side) for side in size)
    if rle is None:
        return np.zeros((height, width), dtype=bool)
    counts = check_rle(rle, (height, width), "the mask")
    return coco_mask.decode({"size": [height, width], "counts": counts}).astype(bool)


def clean_masks(masks: Sequence, size: tuple[int, int] | None, names: Sequence[str]) -> Track:
    """Check several masks of one size and bring them into one form; None of an empty mask and of None.

    Args:
        masks: COCO run-length dicts or None; `counts` is a compressed string, bytes or a list of runs.
        size: `(height, width)` they must have; None takes the first mask's.
        names: of each, for errors.

    Raises:
        DatasetFileError: a size or the runs are wrong.

    Example:
        >>> clean_masks([None, {"size": [2, 3], "counts": [1, 2, 3]}], (2, 3), ["object 1", "object 2"])
        [None, {'size': [2, 3], 'counts': '123'}]
    """
    present = [index for index, rle in enumerate(masks) if rle is not None]
    counts = []
    for index in present:
        size = _checked_size(masks[index], size, names[index])
        counts.append(_counts_bytes(masks[index]["counts"], size, names[index]))
    cleaned: Track = [None] * len(masks)
    if present:
        areas = _check_runs(counts, size[0] * size[1], [names[index] for index in present])
        for index, text, area in zip(present, counts, areas, strict=True):
            if area:
                cleaned[index] = {"size": list(size), "counts": text.decode("ascii")}
    return cleaned


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
        raise DatasetContentError(f"{name} is a {type(track).__name__}, not a list of masks")
    if len(track) != num_frames:
        raise DatasetContentError(f"{name} has {len(track)} masks but its video has {num_frames} frames")
    first = next((index for index, rle in enumerate(track) if rle is not None), None)
    if first is not None:
        size = _checked_size(track[first], size, f"{name}, mask {first}")
    return clean_masks(track, size, [f"{name}, mask {index}" for index in range(num_frames)]), size


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
    _checked_size(rle, size, name)
    counts = _counts_bytes(rle["counts"], size, name)
    _check_runs([counts], size[0] * size[1], [name])
    return counts


def _checked_size(rle, size: tuple[int, int] | None, name: str) -> tuple[int, int]:
    if not isinstance(rle, dict) or not {"size", "counts"} <= rle.keys():
        raise DatasetContentError(f"{name}: a mask must be null or have 'size' and 'counts'")
    found = rle["size"]
    if hasattr(found, "tolist"):  # an array or a tensor, as rows with a format have it
        found = found.tolist()
    if not isinstance(found, (list, tuple)) or len(found) != 2 or not all(isinstance(side, int) for side in found):
        raise DatasetContentError(f"{name}: 'size' must be [height, width], got {found!r}")
    if min(found) < 1 or found[0] * found[1] > MAX_PIXELS:
        raise DatasetContentError(f"{name}: 'size' {list(found)} is not that of a video frame")
    if size is not None:
        check_size(name, found, size, remedy="it may belong to another video", error=DatasetContentError)
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
        raise DatasetContentError(f"{name}: its run lengths cannot be decoded") from None
    return counts


def _check_runs(strings: list[bytes], num_pixels: int, names: list[str]) -> np.ndarray:
    """Check all masks of a track at once, because pycocotools trusts its input; returns areas in pixels.

    A compressed mask is a string of six-bit symbols, a run takes one or more of them (five bits each, low first, the
    sixth says "more"), and from the fourth run on each is relative to the one two back.
    """
    symbols = np.frombuffer(b"".join(strings), dtype=np.uint8) - np.uint8(48)  # what is below "0" comes out high
    stops = np.cumsum([len(text) for text in strings])
    if symbols.max() > 63:
        at = np.argmax(symbols > 63)
        raise DatasetContentError(f"{names[np.searchsorted(stops, at, 'right')]}: a foreign character in 'counts'")
    unfinished = symbols[stops - 1] & 0x20 != 0
    if unfinished.any():
        raise DatasetContentError(f"{names[np.argmax(unfinished)]}: 'counts' ends in the middle of a number")
    ends = np.flatnonzero(symbols & 0x20 == 0)
    lengths = np.diff(ends, prepend=-1)
    if lengths.max() > MAX_RUN_SYMBOLS:
        at = ends[np.argmax(lengths)]
        raise DatasetContentError(f"{names[np.searchsorted(stops, at, 'right')]}: a run in 'counts' is too long")
    first = np.searchsorted(ends, [0, *stops[:-1]])  # run of each mask
    counts = np.diff(first, append=len(ends))
    number_in_mask = np.arange(len(ends)) - np.repeat(first, counts)  # of a run in its mask
    runs = _join_symbols(symbols, ends, lengths)
    odd, even = np.flatnonzero(number_in_mask & 1), np.flatnonzero((number_in_mask & 1 == 0) & (number_in_mask > 0))
    for chosen, per_mask in ((odd, counts // 2), (even, (counts - 1) // 2)):
        runs[chosen] = _cumulative_per_mask(runs[chosen], per_mask)
    bad = (np.add.reduceat(runs, first) != num_pixels) | (np.minimum.reduceat(runs, first) < 0)
    if bad.any():
        raise DatasetContentError(f"{names[np.argmax(bad)]}: its runs do not cover the mask's {num_pixels} pixels")
    return np.add.reduceat(runs * (number_in_mask & 1), first)


def _join_symbols(symbols: np.ndarray, ends: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The number that each run's symbols make, from the last of them, which has the sign, to the first."""
    runs = symbols[ends].astype(np.int64)
    runs -= (runs & 0x10) << 1
    for distance in range(1, lengths.max()):
        longer = np.flatnonzero(lengths > distance)
        runs[longer] = runs[longer] << 5 | symbols[ends[longer] - distance] & 0x1F
    return runs


def _cumulative_per_mask(values: np.ndarray, per_mask: np.ndarray) -> np.ndarray:
    """Cumulative sums that start anew after as many values as each mask has."""
    total = np.cumsum(values)
    before = np.concatenate([[0], total])[np.cumsum(per_mask) - per_mask]
    return total - np.repeat(before, per_mask)
