"""Tracks out of mask PNGs: one file per frame with the ids of all objects, or one file per frame and object."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from .dataset_files import DatasetFileError
from .masks import encode_rle
from .rle_tracks import Track


MASK_MODES = ("P", "L", "1")
VOID = 255


def read_mask_png(path: str, size: tuple[int, int], where: str) -> np.ndarray:
    """Pixel values of a mask PNG: palette indices, grey levels, or 0 and 1.

    Args:
        path: 8-bit PNG with one channel (modes P, L and 1).
        size: `(height, width)` it must have.
        where: video and object, for errors.

    Returns:
        `[height, width]` uint8.

    Raises:
        DatasetFileError: it is missing, unreadable, of another size or has other channels.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in MASK_MODES:
                raise DatasetFileError(
                    f"{path}: {where}: has mode {image.mode}, a mask has one 8-bit channel ({', '.join(MASK_MODES)})"
                )
            values = np.asarray(image).astype(np.uint8)
    except FileNotFoundError:
        raise DatasetFileError(f"{path}: {where}: no such mask: unpack the annotations again") from None
    except DatasetFileError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise DatasetFileError(f"{path}: {where}: cannot be read as an image: unpack it again") from None
    if values.shape != tuple(size):
        raise DatasetFileError(f"{path}: {where}: is {list(values.shape)} (height, width), the video is {list(size)}")
    return values


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
        DatasetFileError: an id is no such number, or a PNG cannot be used, see [`read_mask_png`].
    """
    tracks: dict[str, Track] = {object_id: [] for object_id in object_ids}
    for object_id in tracks:
        if not (object_id.isascii() and object_id.isdecimal() and 0 < int(object_id) < VOID):
            raise DatasetFileError(f"{folder}: {where}: object id {object_id!r} is not a number from 1 to {VOID - 1}")
    for frame in frames:
        values = read_mask_png(os.path.join(folder, f"{frame}.png"), size, where)
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
        DatasetFileError: see [`read_mask_png`]; or none of the files is there.
    """
    paths = [os.path.join(folder, f"{frame}.png") for frame in frames]
    if not any(os.path.lexists(path) for path in paths):  # a link to nothing is there, and broken
        raise DatasetFileError(f"{folder}: {where}: no mask of any frame: unknown object id?")
    return [
        _encode(read_mask_png(path, size, where) > 0, keep_empty) if os.path.lexists(path) else None for path in paths
    ]


def _encode(mask: np.ndarray, keep_empty: bool = False) -> dict | None:
    return encode_rle(mask) if keep_empty or mask.any() else None
