"""Palette PNGs with DAVIS' colours, whose pixels are ids of objects."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
from PIL import Image

from ..atomic_write import atomic_path
from .davis_annotators import davis_colours


def save_id_png(path: str | os.PathLike, ids: np.ndarray) -> None:
    """Write ids `[height, width]`, uint8, 0 for background; the file appears complete or not at all."""
    image = Image.fromarray(np.asarray(ids, dtype=np.uint8))
    image.putpalette(davis_colours().ravel().tolist())
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG")


def number_by_ids(masks: Mapping[int, np.ndarray]) -> np.ndarray:
    """Masks `[height, width]` of bool by id as one image of ids; where they share pixels, the smaller one has them.

    Example:
        >>> number_by_ids({3: np.array([[True, True]]), 7: np.array([[False, True]])})
        array([[3, 7]], dtype=uint8)
    """
    ids = np.zeros(next(iter(masks.values())).shape, dtype=np.uint8)
    for name in sorted(masks, key=lambda name: -masks[name].sum()):
        ids[masks[name]] = name
    return ids


__all__ = ["number_by_ids", "save_id_png"]
