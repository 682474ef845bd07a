"""The miniature trees and what their makers drew: discs and boxes by formula, 48 x 64, five frames."""

import shutil
from pathlib import Path

import numpy as np

from glus_hf import load_referring_dataset
from glus_hf.media.rle import decode_rle
from tests.paths import FIXTURES


TREES = FIXTURES / "datasets"
HEIGHT, WIDTH, NUM_FRAMES = 48, 64, 5
STEMS = [f"{t:05d}" for t in range(NUM_FRAMES)]


def object_masks(number):
    """`[frames, height, width]` bool of object 1 (disc moving right), 2 (box moving left) or 3 (leaves after 3)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    masks = []
    for t in range(NUM_FRAMES):
        if number == 1:
            mask = (x - 12 - 6 * t) ** 2 + (y - 16) ** 2 <= 49
        elif number == 2:
            mask = (x >= 40 - 4 * t) & (x < 52 - 4 * t) & (y >= 28) & (y < 42)
        else:
            mask = ((x - 54) ** 2 + (y - 8) ** 2 <= 25) & (t < 3)
        masks.append(mask)
    return np.stack(masks)


def union(*numbers):
    return np.any([object_masks(number) for number in numbers], axis=0)


def decode(track):
    """`[frames, height, width]` bool of a row's column of masks."""
    return np.stack([decode_rle(rle, (HEIGHT, WIDTH)) for rle in track])


def load(name, folder, split, tmp_path, **options):
    return load_referring_dataset(name, folder, split=split, cache_dir=tmp_path / "cache", **options)


def copy_tree(name, tmp_path):
    """A tree of its own to damage."""
    return Path(shutil.copytree(TREES / name, tmp_path / name))
