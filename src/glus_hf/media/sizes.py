"""Sizes of frames and masks: what belongs to one video has one height and width."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import UserError, VideoError


MAX_DRAWN_SIDE = 4096  # that a picture is enlarged to
MAX_TILE_ASPECT = 4


def check_size(
    name: object,
    found: Sequence[int],
    expected: Sequence[int],
    of: str = "the video",
    remedy: str = "",
    error: type[UserError] = UserError,
) -> None:
    """Refuse a frame or a mask of another size than its video.

    Args:
        name: of the frame or mask, for the message.
        found, expected: `(height, width)` in pixels.
        of: what has the expected size.
        remedy: what to do about it.
        error: what to raise.

    Raises:
        UserError: the sizes differ; or `error`.

    Example:
        >>> check_size("00000.jpg", (4, 6), (4, 6))
    """
    if tuple(found) != tuple(expected):
        advice = f": {remedy}" if remedy else ""
        raise error(f"{name}: is {list(found)} (height, width), but {of} is {list(expected)}{advice}")


def check_same_size(frames: Sequence[np.ndarray], names: Sequence[str] | None = None, origin: str = "") -> None:
    """Refuse frames `[height, width, 3]` of different sizes. Those that are read on demand are checked when they are.

    Raises:
        VideoError: a frame has another size than the first.
    """
    if hasattr(frames, "frame_size"):
        return
    for index, frame in enumerate(frames):
        check_like_first(f"{origin}frame {index if names is None else names[index]}", frame, frames[0])


def frame_size(frames: Sequence[np.ndarray]) -> tuple[int, int]:
    """`(height, width)` of the frames of one video; those that are read on demand know it.

    Example:
        >>> frame_size([np.zeros((4, 6, 3), np.uint8)])
        (4, 6)
    """
    return getattr(frames, "frame_size", None) or frames[0].shape[:2]


def check_like_first(name: str, frame: np.ndarray, first: np.ndarray) -> None:
    """Refuse a frame `[height, width, 3]` of another size than the first of its video.

    Raises:
        VideoError: the sizes differ.
    """
    remedy = "resize the frames to one size"
    check_size(name, frame.shape[:2], first.shape[:2], "the first", remedy, VideoError)


def enlargement(size: Sequence[int], min_side: int) -> float:
    """How much to enlarge a picture so that its shorter side has `min_side` pixels, 1 or more.

    No side grows beyond `MAX_DRAWN_SIDE` for it: a picture of 1 x 1000 pixels would become one of 384 x 384000.

    Example:
        >>> enlargement((48, 64), 96), enlargement((1, 1024), 384)
        (2.0, 4.0)
    """
    return max(1.0, min(min_side / min(size), MAX_DRAWN_SIDE / max(size)))


def tile_size(size: Sequence[int], width: int) -> tuple[int, int]:
    """`(height, width)` of a picture drawn in a tile of that width, at most `MAX_TILE_ASPECT` times as high.

    Example:
        >>> tile_size((45, 80), 160), tile_size((1000, 2), 160)
        ((90, 160), (640, 1))
    """
    scale = min(width / size[1], MAX_TILE_ASPECT * width / size[0])
    height, width = (max(1, round(side * scale)) for side in size)
    return height, width


__all__ = [
    "MAX_DRAWN_SIDE",
    "enlargement",
    "tile_size",
    "check_like_first",
    "check_same_size",
    "check_size",
    "frame_size",
]
