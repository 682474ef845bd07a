"""How a video file wants its pictures turned and mirrored: the 3x3 display matrix of mp4, mov and Matroska."""

from __future__ import annotations

import math

import numpy as np

from ..errors import VideoError


TOLERANCE = math.radians(1)  # to a right angle, as ffmpeg has it


def turn_frame(frame: np.ndarray, matrix: bytes | None, name: object) -> np.ndarray:
    """Show a frame as players show it.

    The matrix `[[a, b, u], [c, d, v], [x, y, w]]` takes a stored pixel `(i, j)`, counted to the right and down, to
    `(a i + c j, b i + d j)`. Only turns by right angles and mirroring leave a picture that fills its frame. Scales and
    shifts play no part, and a matrix that maps everything to a line or a point turns nothing: as in ffmpeg.

    Args:
        frame: `[height, width, 3]`, as stored.
        matrix: nine 32-bit integers of the machine's byte order; None turns nothing.
        name: of the file, for the error.

    Returns:
        `[height, width, 3]` or `[width, height, 3]`, contiguous.

    Raises:
        VideoError: the matrix turns by another angle, or distorts.

    Example:
        >>> quarter = np.array([0, 1, 0, -1, 0, 0, 0, 0, 1], np.int32).tobytes()
        >>> turn_frame(np.zeros((2, 3, 3), np.uint8), quarter, "a.mp4").shape
        (3, 2, 3)
    """
    if matrix is None or len(matrix) < 36:
        return np.ascontiguousarray(frame)
    a, b, _, c, d = np.frombuffer(matrix, np.int32, 5).tolist()
    if not (a or c) or not (b or d) or not (a or b) or not (c or d):
        return np.ascontiguousarray(frame)
    if _is_right(a, b) and _is_right(d, c):
        horizontal, vertical = a, d
    elif _is_right(b, a) and _is_right(c, d):
        frame, horizontal, vertical = frame.swapaxes(0, 1), c, b
    else:
        degrees = math.degrees(math.atan2(b, a))
        raise VideoError(
            f"{name}: asks to be shown turned by {degrees:.0f} degrees or distorted, which gives no full picture: "
            "re-export it as mp4"
        )
    return np.ascontiguousarray(frame[:: -1 if vertical < 0 else 1, :: -1 if horizontal < 0 else 1])


def _is_right(along: int, across: int) -> bool:
    return abs(across) <= abs(along) * math.tan(TOLERANCE)


__all__ = ["turn_frame"]
