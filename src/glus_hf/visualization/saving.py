"""Drawn frames as video files."""

import os
from collections.abc import Iterable, Iterator, Sequence

import cv2
import numpy as np
from transformers.utils import logging

from ..media.video import write_video


logger = logging.get_logger(__name__)

GIF_SIDE, GIF_FPS = 480, 10  # pixels, frames per second
GIF_PIXELS = 16_000_000  # in all frames together: 6 to 9 MB of a camera's pictures
GIF_MIN_FPS, GIF_MIN_SIDE = 4, 160


def save_overlay(
    path: str | os.PathLike,
    frames: Iterable[np.ndarray],
    fps: float = 12,
    sound: str | os.PathLike | None = None,
) -> None:
    """Save drawn frames as `.mp4`, `.mov`, `.webm` or `.gif`; see [`~glus_hf.media.video.write_video`].

    A `.gif` is made for a page or a chat: at most 480 pixels wide or high, 10 frames per second and about 10 MB. What
    is larger is scaled down and loses frames (it still lasts as long), and a line says so.

    Args:
        path: where to write; the suffix chooses the format.
        frames: arrays `[height, width, 3]`, uint8 RGB, of one size; a generator is consumed lazily.
        fps: frames per second.
        sound: a media file whose sound is added, cut to the length of the frames.

    Raises:
        VideoError: the frames cannot be written; one line.

    Example:
        >>> save_overlay("dog.gif", overlay_video(frames, masks, ["the dog"]), fps=12)  # doctest: +SKIP
    """
    if os.path.splitext(os.fspath(path))[1].lower() == ".gif" and 0 < fps <= 1000:
        frames, fps = _bounded(path, frames, fps)
        sound = None
    write_video(path, frames, fps, sound=sound)


def _bounded(path, frames: Iterable[np.ndarray], fps: float) -> tuple[list[np.ndarray], float]:
    """Frames for a GIF, and their frame rate."""
    step, kept, size = max(1.0, fps / GIF_FPS), [], None
    for frame in _every(frames, step):
        size = size or frame.shape[:2]
        kept.append(_shrink(frame, GIF_SIDE))
    if not kept:
        return kept, fps
    kept, rate = _thin(kept, fps / step)
    if (rate < fps and len(kept) > 1) or kept[0].shape[:2] != size:
        (new_height, new_width), (height, width) = kept[0].shape[:2], size
        logger.warning(
            f"{os.path.basename(path)}: {new_width}x{new_height} at {rate:.3g} frames per second, reduced from "
            f"{width}x{height} at {fps:.3g}; write .mp4 or .webm to keep all of it"
        )
    return kept, rate


def _every(frames: Iterable[np.ndarray], step: float) -> Iterator[np.ndarray]:
    """Frames number 0, step, 2 step, ...; of a sequence, the others are not even drawn."""
    if isinstance(frames, Sequence):
        yield from (frames[index] for index in np.arange(0, len(frames), step).astype(int).tolist())
        return
    taken = 0
    for index, frame in enumerate(frames):
        if index >= int(taken * step):
            taken += 1
            yield frame


def _thin(frames: list[np.ndarray], fps: float) -> tuple[list[np.ndarray], float]:
    """As many pixels as a GIF may have: fewer frames first, smaller ones next, and in the end fewer again."""
    height, width = frames[0].shape[:2]
    excess = len(frames) * height * width / GIF_PIXELS
    if excess <= 1:
        return frames, fps
    step = max(1.0, min(excess, fps / GIF_MIN_FPS))
    side = max(GIF_MIN_SIDE, max(height, width) * min(1.0, (step / excess) ** 0.5))
    small = _shrink(frames[0], round(side))
    step = max(step, len(frames) * small.shape[0] * small.shape[1] / GIF_PIXELS)
    indices = np.arange(0, len(frames), step).astype(int)
    return [_shrink(frames[index], round(side)) for index in indices], fps / step


def _shrink(frame: np.ndarray, side: int) -> np.ndarray:
    """The frame, no larger than `side` pixels either way."""
    frame = np.asarray(frame)
    scale = side / max(frame.shape[:2])
    if scale >= 1:
        return frame
    height, width = (max(1, round(length * scale)) for length in frame.shape[:2])
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)


__all__ = ["save_overlay"]
