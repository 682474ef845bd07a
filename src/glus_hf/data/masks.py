"""Masks as COCO run-length strings and as PNG files."""

import os

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from .atomic_write import atomic_path
from .rle_tracks import check_rle


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
    counts = check_rle(rle, (height, width), "the mask")
    return coco_mask.decode({"size": [height, width], "counts": counts}).astype(bool)


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
