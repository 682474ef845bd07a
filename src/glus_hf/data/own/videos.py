"""Own data (docs/own-data.md): the folders of the splits, videos and masks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import DatasetFileError
from ...media.images import IMAGE_SUFFIXES, list_images
from ...media.mask_png import read_mask_values
from ...media.rle import Rle, clean_track, encode_rle
from ...media.video_file import decode_file
from ...rows import first_repeated
from ..dataset_files import image_size
from .expressions import EXPRESSIONS


VIDEOS = "videos"
FLAT_SPLIT = "train"  # name of the one split of a folder without split folders
VIDEO_SUFFIXES = (".mp4", ".mov", ".webm", ".mkv", ".avi", ".gif", ".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".ogv")


@dataclass(frozen=True)
class OwnVideo:
    """A folder of frames or a file: `frames` are stems, `frame_paths` addresses for `read_frame`, `size` is
    `(height, width)`, `damage` says why a file gave fewer frames than it should have."""

    name: str
    frames: list[str]
    frame_paths: list[str]
    size: tuple[int, int]
    damage: str | None = None


def find_splits(data_dir: str | os.PathLike) -> dict[str, Path]:
    """Folders of the splits by name: subfolders with an `expressions.jsonl`, or `{"train": data_dir}` if it has one.

    Raises:
        DatasetFileError: there is none, or both.
    """
    root = Path(data_dir)
    if not root.is_dir():
        raise DatasetFileError(f"{root}: no such folder: check the path")
    splits = {path.parent.name: path.parent for path in sorted(root.glob(f"*/{EXPRESSIONS}"))}
    flat = (root / EXPRESSIONS).exists()
    if flat and splits:
        raise DatasetFileError(f"{root}: has {EXPRESSIONS} and {next(iter(splits))}/{EXPRESSIONS}: keep one layout")
    if not flat and not splits:
        raise DatasetFileError(f"{root}: has no {EXPRESSIONS}, nor has a folder in it: see docs/own-data.md")
    return splits or {FLAT_SPLIT: root}


def open_video(folder: Path, name: str) -> OwnVideo:
    """Find `videos/<name>`, a folder of frames or a file, and list its frames. A file is decoded to count them.

    Raises:
        ValueError: there is none, there are two, or it has no frames.
    """
    path = folder / VIDEOS / name
    same_stem = sorted(path.parent.iterdir()) if path.parent.is_dir() else []
    files = [file for file in same_stem if file.stem == path.name and file.suffix.lower() in VIDEO_SUFFIXES]
    found = ([path] if path.is_dir() else []) + files
    if not found:
        hint = "; name it without its suffix" if path.is_file() else ""
        raise DatasetFileError(
            f"video {name!r}: no folder {VIDEOS}/{name} and no file {VIDEOS}/{name}.mp4{hint or '; add it'}"
        )
    if len(found) > 1:
        raise DatasetFileError(f"video {name!r}: {found[0].name} and {found[1].name} both fit; keep one")
    if not found[0].is_dir():
        clip = decode_file(found[0], only_first=True)
        paths = [f"video://{index}::{found[0].absolute()}" for index in range(clip.num_frames)]
        stems = [f"{index:05d}" for index in range(clip.num_frames)]
        return OwnVideo(name, stems, paths, clip.frames[0].shape[:2], clip.damage)
    images = list_images(path)
    stems = [file.stem for file in images]
    if not images:
        raise DatasetFileError(
            f"video {name!r}: {VIDEOS}/{name} has no frames; add some ({', '.join(IMAGE_SUFFIXES)})"
        )
    if (twice := first_repeated(stems)) is not None:
        raise DatasetFileError(f"video {name!r}: two files have the name {twice}; keep one")
    return OwnVideo(name, stems, [str(file.absolute()) for file in images], image_size(str(images[0])))


def read_track(folder: Path, masks: str | list, video: OwnVideo) -> list[Rle | None]:
    """Run lengths of one object, one or None per frame of the video.

    Raises:
        ValueError: the first problem of [`track_problems`] and of the masks themselves.
    """
    for problem in track_problems(folder, masks, video):
        raise DatasetFileError(problem)
    if isinstance(masks, list):
        return clean_track(masks, len(video.frames), video.size, "'masks'")[0]
    track = []
    for stem in video.frames:
        file = folder / masks / f"{stem}.png"
        mask = read_mask_png(file, video.size) if os.path.lexists(file) else None
        track.append(encode_rle(mask) if mask is not None and mask.any() else None)
    return track


def track_problems(folder: Path, masks: str | list, video: OwnVideo) -> Iterator[str]:
    """What is wrong with the masks as a whole, not with one of them: their number, names without a frame."""
    if isinstance(masks, list):
        if len(masks) != len(video.frames):
            yield f"{len(masks)} masks, but video {video.name!r} has {len(video.frames)} frames"
    elif not (folder / masks).is_dir():
        yield f"no folder {masks}"
    else:
        stems = set(video.frames)
        strays = sorted(file.name for file in (folder / masks).glob("*.png") if file.stem not in stems)
        if strays:
            more = f" and {len(strays) - 1} more" if len(strays) > 1 else ""
            yield f"{masks}/{strays[0]}{more}: video {video.name!r} has no such frame"
        elif not any((folder / masks).glob("*.png")):
            yield f"{masks} holds no .png; leave the masks out if there are none"


def read_mask_png(file: Path, size: tuple[int, int]) -> np.ndarray:
    """`[height, width]` bool of a mask file: 8 bits, one channel, every value but 0 is the target.

    Raises:
        DatasetFileError: it is no such image or has another size.
    """
    return read_mask_values(file, size) != 0
