"""Masks as PNG files: one channel of 8 bits."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image

from ..atomic_write import atomic_path
from ..errors import DatasetContentError, DatasetFileError
from .masks import boolean_mask
from .open_image import open_image
from .sizes import check_size


MASK_MODES = ("P", "L", "1")


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
    image = Image.fromarray(boolean_mask(mask).astype(np.uint8) * 255)
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG")


def read_mask_values(path: str | os.PathLike, size: tuple[int, int], where: str = "", remedy: str = "") -> np.ndarray:
    """Pixel values of a mask PNG: palette indices, grey levels, or 0 and 1.

    Args:
        path: 8-bit PNG with one channel (modes P, L and 1).
        size: `(height, width)` it must have.
        where: video and object, for errors.
        remedy: what to do about a file that is missing or broken, for errors.

    Returns:
        `[height, width]` uint8.

    Raises:
        DatasetFileError: it is missing, unreadable, of another size or has other channels.
    """
    name = f"{path}: {where}" if where else str(path)
    if not os.path.lexists(path):
        raise DatasetFileError(f"{name}: no such mask{f': {remedy}' if remedy else ''}")
    options = {"formats": ("PNG",), "kind": "mask"}  # a JPEG has other values at every edge
    image = open_image(path, name, remedy=remedy or "replace it", error=DatasetFileError, **options)
    mode, values = image.mode, np.asarray(image)
    if mode not in MASK_MODES:
        raise DatasetContentError(f"{name}: has mode {mode}, a mask has one 8-bit channel ({', '.join(MASK_MODES)})")
    check_size(name, values.shape, size, error=DatasetFileError)
    return values.astype(np.uint8)


__all__ = ["MASK_MODES", "read_mask_values", "save_mask_png"]
