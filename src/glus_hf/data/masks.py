"""Masks as COCO run-length strings and as PNG files."""

import os

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from .atomic_write import atomic_path


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
    mask = _boolean_mask(mask)
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def decode_rle(rle: dict | None, size: tuple[int, int]) -> np.ndarray:
    """Decode one COCO run-length dict; `None`, which data sets write for an absent object, gives an empty mask.

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
    if not isinstance(rle, dict) or not {"size", "counts"} <= rle.keys():
        raise ValueError(f"a mask must be a dict with 'size' and 'counts' or None, got {type(rle).__name__}")
    if [int(side) for side in rle["size"]] != [height, width]:
        raise ValueError(f"the mask is {list(rle['size'])} (height, width) but [{height}, {width}] was expected")
    try:
        counts = rle["counts"]
        if isinstance(counts, list):
            counts = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)["counts"]
        _check_runs(_run_lengths(counts), height * width)
        return coco_mask.decode({"size": [height, width], "counts": counts}).astype(bool)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"the mask's run lengths cannot be decoded: {error}") from None


def save_mask_png(path: str | os.PathLike, mask: np.ndarray) -> None:
    """Save one mask as an 8-bit grey PNG, 255 inside and 0 outside; the file appears complete or not at all.

    Args:
        path: where to write; parent folders are created.
        mask: `[height, width]`, bool.

    Raises:
        ValueError: the mask is not a boolean `[height, width]` array.

    Example:
        >>> save_mask_png("masks/00000.png", np.eye(8, dtype=bool))  # doctest: +SKIP
    """
    image = Image.fromarray(_boolean_mask(mask).astype(np.uint8) * 255)
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG")


def _boolean_mask(mask: np.ndarray) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.dtype != np.bool_ or mask.ndim != 2 or mask.size == 0:
        raise ValueError(f"a mask must be a boolean [height, width] array, got {mask.dtype} of shape {mask.shape}")
    return mask


def _run_lengths(counts: str | bytes) -> np.ndarray:
    """Runs of a compressed COCO string: groups of five bits, low first, each run relative to the one two back."""
    symbols = np.frombuffer(counts.encode("ascii") if isinstance(counts, str) else counts, dtype=np.uint8)
    symbols = symbols.astype(np.int64) - 48
    ends = np.flatnonzero(symbols & 0x20 == 0)
    if not len(ends) or ends[-1] != len(symbols) - 1 or symbols.min() < 0 or symbols.max() > 63:
        raise ValueError("they end in the middle of a number or hold a foreign character")
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 8:
        raise ValueError("a run is too long")
    shifts = 5 * (np.arange(len(symbols)) - np.repeat(starts, lengths))
    runs = np.add.reduceat((symbols & 0x1F) << shifts, starts)
    runs -= np.where(symbols[ends] & 0x10, 1 << (5 * lengths), 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs


def _check_runs(runs: np.ndarray, num_pixels: int) -> None:
    # pycocotools leaves memory uninitialised where the runs end early
    if runs.min() < 0 or runs.sum() != num_pixels:
        raise ValueError(f"the runs cover {runs.sum()} pixels, the mask has {num_pixels}")
