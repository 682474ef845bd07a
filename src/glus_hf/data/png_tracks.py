"""Tracks out of mask PNGs: one file per frame with the ids of all objects, or one file per frame and object."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

import numpy as np

from ..errors import DatasetContentError
from ..media.mask_png import read_mask_values
from ..media.rle import Track, encode_rle


VOID = 255
ID = r"[0-9]{1,18}"  # Python reads no number of thousands of digits


def read_index_tracks(
    folder: str, frames: Sequence[str], object_ids: Iterable[str], size: tuple[int, int], where: str
) -> dict[str, Track]:
    """Tracks of objects out of PNGs whose pixels are object ids (0 background, 255 void).

    Args:
        folder: holds `<frame>.png` of every frame; each is decoded once.
        frames: names of the frames.
        object_ids: ids wanted, numbers from 1 to 254; may come more than once.
        size: `(height, width)`.
        where: the video, for errors.

    Returns:
        A track per id; None where it has no pixel.

    Raises:
        DatasetFileError: an id is no such number, or a PNG cannot be used, see [`read_mask_values`].
    """
    tracks: dict[str, Track] = {object_id: [] for object_id in object_ids}
    for object_id in tracks:
        if not re.fullmatch(ID, object_id) or not 0 < int(object_id) < VOID:
            raise DatasetContentError(f"{folder}: {where}: object id {object_id!r} is no number from 1 to {VOID - 1}")
    for frame in frames:
        values = _read(os.path.join(folder, f"{frame}.png"), size, where)
        for object_id, track in tracks.items():
            track.append(_encode(values == int(object_id)))
    return tracks


def read_binary_track(
    folder: str, frames: Sequence[str], size: tuple[int, int], where: str, *, keep_empty: bool = False
) -> Track:
    """Track of one object out of PNGs that are non-zero inside. A file that is missing gives None.

    Args:
        folder: holds `<frame>.png` of the frames.
        frames: names of the frames.
        size: `(height, width)`.
        where: video and object, for errors.
        keep_empty: give an empty mask, not None, for a file that is there and empty, so that None says that a frame
            was not annotated.

    Raises:
        DatasetFileError: see [`read_mask_values`]; or none of the files is there.
    """
    paths = [os.path.join(folder, f"{frame}.png") for frame in frames]
    if not any(os.path.lexists(path) for path in paths):  # a link to nothing is there, and broken
        raise DatasetContentError(f"{folder}: {where}: no mask of any frame: unknown object id?")
    return [_encode(_read(path, size, where) > 0, keep_empty) if os.path.lexists(path) else None for path in paths]


def _read(path: str, size: tuple[int, int], where: str) -> np.ndarray:
    return read_mask_values(path, size, where, "unpack the annotations again")


def _encode(mask: np.ndarray, keep_empty: bool = False) -> dict | None:
    return encode_rle(mask) if keep_empty or mask.any() else None
