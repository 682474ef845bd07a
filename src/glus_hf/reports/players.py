"""Predictions beside the truth as a small video that lies in the page itself."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Clip:
    """Predictions beside the truth.

    Attributes:
        content: an mp4.
        missing: names of the shown frames that have no mask in one of the trees, or in both.
    """

    content: bytes
    missing: list[str]


def clip_of(row: Mapping, folders: Sequence[Path]) -> Clip:
    """The frames of a row: the prediction of each folder, and the truth, side by side.

    Args:
        row: with masks.
        folders: trees of predictions.

    Returns:
        At most `MAX_FRAMES` frames, evenly spread. A mask that is missing is drawn as an empty one.

    Raises:
        UserError: a mask cannot be read, or is a link: whoever made the tree could put your pictures in the page;
            one line.
    """
    count, missing = len(row["frames"]), {}
    chosen = sorted({int(i) for i in np.linspace(0, count - 1, min(count, MAX_FRAMES)).round()})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "clip.mp4"
        write_video(file, [_picture(row, folders, index, missing) for index in chosen], FPS)
        return Clip(file.read_bytes(), list(missing))


def player(content: bytes, label: str) -> str:
    """The HTML of a video without any file beside it."""
    data = base64.b64encode(content).decode()
    source = f'src="data:video/mp4;base64,{data}"'
    return f'<video controls loop muted playsinline preload="auto" aria-label="{escape(label)}" {source}></video>'


def _picture(row: Mapping, folders: Sequence[Path], index: int, missing: dict[str, None]) -> np.ndarray:
    frame = _fit(read_frame(row["frame_paths"][index]))
    truth = decode_rle(row["masks"][index], (row["height"], row["width"]))
    masks = [*(_prediction(folder, row, row["frames"][index], truth, missing) for folder in folders), truth]
    return _beside([draw_overlay(frame, _fit_mask(mask, frame.shape[:2]), min_side=SIDE) for mask in masks])


def _prediction(folder: Path, row: Mapping, frame: str, truth: np.ndarray, missing: dict[str, None]) -> np.ndarray:
    try:
        return read_prediction(folder, row, frame, follows_links=False)
    except MissingPrediction:
        missing[frame] = None
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


__all__ = ["MAX_FRAMES", "Clip", "clip_of", "player"]
