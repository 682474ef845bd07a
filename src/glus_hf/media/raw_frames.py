"""Raw RGB frames from a pipe, one after the other, each as soon as all of it is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from transformers.utils import logging

from ..errors import VideoError
from .decode_limits import DecodeLimits


logger = logging.get_logger(__name__)


def parse_size(text: str, limits: DecodeLimits | None = None) -> tuple[int, int]:
    """`(height, width)` of a size as ffmpeg writes it.

    Raises:
        VideoError: it is no size, or has more pixels than a frame may have.

    Example:
        >>> parse_size("640x360")
        (360, 640)
    """
    match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text)
    if match is None:
        raise VideoError(f"{text[:40]!r} is no size: write WIDTHxHEIGHT in pixels, as 640x360")
    width, height = int(match[1]), int(match[2])
    most = (limits or DecodeLimits()).frame_pixels
    if most is not None and width * height > most:
        raise VideoError(f"{text}: has more than the {most} pixels that a frame may have: raise frame_pixels")
    return height, width


def read_raw_frames(stream: BinaryIO, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Frames `uint8 [height, width, 3]` of a stream of RGB bytes, 3 per pixel, row by row.

    A last frame that is cut short is left out, and a warning says so.

    Args:
        stream: open for reading bytes; it may give fewer at once than it is asked for.
        size: `(height, width)`.

    Raises:
        VideoError: the stream ends before the first frame is whole.

    Example:
        >>> import io
        >>> [frame.shape for frame in read_raw_frames(io.BytesIO(bytes(36)), (2, 3))]
        [(2, 3, 3), (2, 3, 3)]
    """
    number, expected = 0, size[0] * size[1] * 3
    while True:
        frame = np.empty((*size, 3), np.uint8)
        found = _fill(stream, memoryview(frame).cast("B"))
        if found < expected:
            break
        yield frame
        number += 1
    shape = f"{size[1]}x{size[0]}"
    if number == 0:
        raise VideoError(f"standard input ended after {found} of {expected} bytes of a {shape} frame: check --size")
    if found > 0:
        logger.warning(
            f"standard input ended within frame {number:05d} ({found} of {expected} bytes), which is left out; if all "
            f"pictures are sheared, the size is not {shape}"
        )


def _fill(stream: BinaryIO, buffer: memoryview) -> int:
    """Read until a buffer is full or the stream ends; how many bytes."""
    filled = 0
    while filled < len(buffer):
        count = stream.readinto(buffer[filled:])
        if not count:
            break
        filled += count
    return filled


__all__ = ["parse_size", "read_raw_frames"]
