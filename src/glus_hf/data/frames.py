"""Frames by address: an image, a member of a tar, a frame of a video file, or a generated MotionShapes frame."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError
from ..safe_files import Stamp, file_stamp
from .tar_frames import open_tar


if TYPE_CHECKING:
    from ..media.decode_limits import DecodeLimits


def read_frame(path: str, limits: DecodeLimits | None = None) -> np.ndarray:
    """Read one frame by an address out of the column `frame_paths`.

    Args:
        path: one of

            - a path of an image
            - `tar://MEMBER::/path/to/JPEGImages.tar`: a member of an uncompressed tar, read in place
            - `video://INDEX::/path/to/clip.mp4`: a frame of a video file; the last two files stay open
            - `motion_shapes://SPLIT/SEED/SIZE/NUM_FRAMES or auto/INDEX/FRAME`: drawn, see [`generate_clip`]
        limits: what a video file may ask for.

    Returns:
        `[height, width, 3]` uint8 RGB. EXIF orientation is applied, grey is repeated.

    Raises:
        ValueError: it cannot be read; one line that names it.

    Example:
        >>> read_frame("motion_shapes://test/0/64/8/0/3").shape
        (64, 64, 3)
    """
    path = str(path)
    if path.startswith("motion_shapes://"):
        return _read_motion_shapes(path)
    from ..media.video import load_video

    if path.startswith("tar://"):
        return _read_tar_member(path)
    if path.startswith("video://"):
        return _read_video_frame(path, limits)
    return load_video([path]).frames[0]


def read_frames(paths: Iterable[str], limits: DecodeLimits | None = None) -> list[np.ndarray]:
    """[`read_frame`] for each of `paths`, which are the frames of one video.

    Raises:
        VideoError: together they hold more than `limits` allow.
    """
    from ..media.decode_limits import FrameBudget

    budget, frames = None, []
    for path in paths:
        budget = budget or FrameBudget(path, limits)
        frames.append(read_frame(path, limits))
        budget.add(*frames[-1].shape[:2])
    return frames


def open_frames(
    paths: Sequence[str], limits: DecodeLimits | None = None, size: tuple[int, int] | None = None
) -> Sequence[np.ndarray]:
    """[`read_frames`], for videos of any length: more than 256 MB of frames are read when they are asked for.

    Args:
        paths: addresses of the frames of one video.
        limits: as for [`read_frame`]; `memory` only bounds the frames that are held.
        size: `(height, width)` that they must have; by default that of the first.

    Raises:
        UserError: a frame has another size.

    Example:
        >>> frames = open_frames([f"motion_shapes://test/0/64/8/0/{index}" for index in range(3)])
        >>> len(frames), frames[2].shape
        (3, (64, 64, 3))
    """
    from ..media.frames_on_demand import FramesOnDemand, fits

    paths = list(paths)
    size = size or read_frame(paths[0], limits).shape[:2]
    frames = FramesOnDemand(len(paths), size, lambda index: read_frame(paths[index], limits), paths)
    return [frames[index] for index in range(len(paths))] if fits(len(paths), *size, limits) else frames


def _split_address(path: str, scheme: str, example: str) -> tuple[str, str]:
    inside, separator, file = path.removeprefix(scheme).partition("::")
    if not separator or not inside or not file:
        raise UserError(f"{path}: not an address: write {scheme}{example}")
    return inside, file


def _read_tar_member(path: str) -> np.ndarray:
    from ..media.images import open_image, to_frame

    member, tar = _split_address(path, "tar://", "MEMBER::/path/to/archive.tar")
    file = open_tar(tar).open(member)
    return to_frame(open_image(file, path, remedy="download the archive again"), path)


def _read_video_frame(path: str, limits: DecodeLimits | None) -> np.ndarray:
    index, file = _split_address(path, "video://", "INDEX::/path/to/clip.mp4")
    frames = _decode_video(file, file_stamp(file, "video"), limits)
    if not index.isdecimal() or int(index) >= len(frames):
        raise UserError(
            f"{path}: the video has frames 0 to {len(frames) - 1}; was it replaced? read the dataset again"
        )
    return frames[int(index)].copy()


@functools.lru_cache(maxsize=2)
def _decode_video(file: str, stamp: Stamp, limits: DecodeLimits | None) -> Sequence[np.ndarray]:
    from ..media.video import open_video

    return open_video(file, limits=limits).frames


def _read_motion_shapes(path: str) -> np.ndarray:
    parts = path.removeprefix("motion_shapes://").split("/")
    try:
        split, seed, size, num_frames, index, frame = parts
        numbers = [int(part) for part in (seed, size, index, frame)]
        length = None if num_frames == "auto" else int(num_frames)
    except ValueError:
        raise UserError(f"{path}: not an address: write motion_shapes://SPLIT/SEED/SIZE/auto/INDEX/FRAME") from None
    clip = cached_clip(split, numbers[0], numbers[1], length, numbers[2])
    if not 0 <= numbers[3] < len(clip.frames):
        raise UserError(f"{path}: the clip has frames 0 to {len(clip.frames) - 1}; read the dataset again")
    return clip.frames[numbers[3]].copy()


@functools.lru_cache(maxsize=16)
def cached_clip(split: str, seed: int, size: int, num_frames: int | None, index: int):
    """[`generate_clip`], keeping the last few clips of this process. Do not write into them."""
    from .motion_shapes import generate_clip

    return generate_clip(index, split=split, seed=seed, size=size, num_frames=num_frames)
