"""Ref-DAVIS17 by annotator: one indexed segmentation per annotator, as the DAVIS evaluation reads it.

Each object of a video has four expressions, by two annotators from the first frame and from the whole video. The k-th
expressions of all objects are one annotator's; fused, they are one segmentation with ids, 1 for the lowest object id.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import UserError
from ..media.open_image import open_image


MAX_PROPOSALS = 20


def rows_by_annotator(rows: Sequence[Mapping]) -> list[list[Mapping]]:
    """Split the rows of one video: `[annotators][objects]`, objects by id.

    Raises:
        ValueError: an expression has not one object, objects have different numbers of expressions, or there are more
            than 20.

    Example:
        >>> row = {"video_id": "cat", "expression_id": "0", "object_ids": ["1"]}
        >>> [len(listed) for listed in rows_by_annotator([row, {**row, "expression_id": "1"}])]
        [1, 1]
    """
    by_object: dict[str, list[Mapping]] = {}
    for row in sorted(rows, key=lambda row: (len(row["expression_id"]), row["expression_id"])):  # "2" before "10"
        by_object.setdefault(_object_id(row), []).append(row)
    counts = {name: len(listed) for name, listed in by_object.items()}
    video = rows[0]["video_id"]
    if len(set(counts.values())) != 1:
        raise UserError(f"video {video}: every object needs equally many expressions, but they have {counts}")
    if len(counts) > MAX_PROPOSALS:
        raise UserError(
            f"video {video}: {len(counts)} objects are more than the {MAX_PROPOSALS} that DAVIS allows; leave some out"
        )
    objects = sorted(by_object, key=lambda name: (len(name), name))
    return [list(listed) for listed in zip(*(by_object[name] for name in objects), strict=True)]


def fused_png(masks: Sequence[Path]) -> bytes:
    """PNG of one frame in mode P with DAVIS' colours: pixels are places in `masks` from 1, 0 in none, the lowest wins.

    Args:
        masks: mask PNGs of one size, one per object.
    """
    first = open_image(masks[0], formats=("PNG",), kind="mask")
    ids = np.zeros((first.height, first.width), dtype=np.uint8)
    for number, path in reversed(list(enumerate(masks, start=1))):
        ids[np.asarray(open_image(path, formats=("PNG",), kind="mask")) > 0] = number
    image = Image.fromarray(ids)
    image.putpalette(davis_colours().ravel().tolist())
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()


def davis_colours() -> np.ndarray:
    """`[256, 3]` uint8, PASCAL VOC's: bits of an id in turn to red, green and blue, from their highest bit down."""
    ids, colours = np.arange(256), np.zeros((256, 3), dtype=np.uint8)
    for bit in range(8):
        colours[:, bit % 3] |= ((ids >> bit & 1) << (7 - bit // 3)).astype(np.uint8)
    return colours


def _object_id(row: Mapping) -> str:
    if len(row["object_ids"]) != 1:
        name = f"video {row['video_id']}, expression {row['expression_id']}"
        raise UserError(f"{name}: this protocol needs one object per expression, not {row['object_ids']}")
    return row["object_ids"][0]


__all__ = ["MAX_PROPOSALS", "davis_colours", "fused_png", "rows_by_annotator"]
