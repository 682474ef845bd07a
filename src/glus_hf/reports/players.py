"""Predictions beside the truth as a small video that lies in the page itself."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from ..data.frames import read_frame
from ..errors import MissingPrediction
from ..media.rle import decode_rle
from ..media.video import write_video
from ..predictions.prediction_tree import read_prediction
from ..visualization import draw_overlay


SIDE = 224  # of the shorter side of a picture, at least
LONGEST = 400
MAX_FRAMES = 48
FPS = 6
GAP = 6


def clip_of(row: Mapping, folders: Sequence[Path]) -> bytes:
    """An mp4 of the frames of a row: the prediction of each folder, and the truth, side by side.

    Args:
        row: with masks.
        folders: trees of predictions.

    Returns:
        The file. At most `MAX_FRAMES` frames, evenly spread.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "clip.mp4"
        write_video(file, list(_pictures(row, folders)), FPS)
        return file.read_bytes()


def player(content: bytes, label: str) -> str:
    """The HTML of a video without any file beside it."""
    data = base64.b64encode(content).decode()
    source = f'src="data:video/mp4;base64,{data}"'
    return f'<video controls loop muted playsinline preload="auto" aria-label="{escape(label)}" {source}></video>'


def _pictures(row: Mapping, folders: Sequence[Path]) -> Iterator[np.ndarray]:
    count = len(row["frames"])
    for index in sorted({int(i) for i in np.linspace(0, count - 1, min(count, MAX_FRAMES)).round()}):
        frame = _fit(read_frame(row["frame_paths"][index]))
        truth = decode_rle(row["masks"][index], (row["height"], row["width"]))
        masks = [*(_prediction(folder, row, row["frames"][index], truth) for folder in folders), truth]
        tiles = [draw_overlay(frame, _fit_mask(mask, frame.shape[:2]), min_side=SIDE) for mask in masks]
        yield _beside(tiles)


def _prediction(folder: Path, row: Mapping, frame: str, truth: np.ndarray) -> np.ndarray:
    try:
        return read_prediction(folder, row, frame)
    except MissingPrediction:
        return np.zeros_like(truth)


def _fit(frame: np.ndarray) -> np.ndarray:
    image = Image.fromarray(frame)
    image.thumbnail((LONGEST, LONGEST))
    return np.asarray(image)


def _fit_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return mask if mask.shape == size else np.asarray(Image.fromarray(mask).resize(size[::-1]))


def _beside(tiles: list[np.ndarray]) -> np.ndarray:
    gap = np.full((tiles[0].shape[0], GAP, 3), 255, np.uint8)
    parts = [part for tile in tiles for part in (gap, tile)][1:]
    return np.concatenate(parts, axis=1)


__all__ = ["MAX_FRAMES", "clip_of", "player"]
