"""Folders of masks that our commands wrote, read for export."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...bounded_json import decode_json
from ...errors import UserError
from ...media.images import list_images, natural_order, to_frame
from ...media.mask_png import read_mask_values
from ...media.rle import Track, encode_rle
from ...media.sizes import check_size
from ...media.video import load_video
from ...safe_files import read_bytes
from .video_masks import VideoMasks


NOTE = "masks.json"
TREE_TOP = "Annotations"  # some benchmarks' trees start with it


def write_note(folder: Path, video: str, fps: float | None, labels: list[str]) -> None:
    """Note beside masks `<folder>/<number>/<frame>.png` which expressions they are of."""
    note = {"video": video, "fps": fps, "expressions": {str(number): label for number, label in enumerate(labels)}}
    (folder / NOTE).write_text(json.dumps(note, ensure_ascii=False, indent=1), encoding="utf-8")


def read_mask_folder(root: Path, texts: Mapping[str, Mapping[str, str]] | None = None) -> list[VideoMasks]:
    """Masks of one video, `<root>/<number>/<frame>.png` (`glus-hf segment --masks-dir`), or of many,
    `<root>/[Annotations/]<video>/<expression>/<frame>.png` (`glus-hf evaluate`). All values but 0 are inside.

    Args:
        root: the folder.
        texts: `{video: {number or id: expression}}`. Without it the expressions are those that `segment` noted, else
            the names of the folders.

    Raises:
        UserError: there are no masks, or they do not fit each other. One line.

    Example:
        >>> [video.labels for video in read_mask_folder(Path("masks"))]  # doctest: +SKIP
        [['the dog', 'the cat']]
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder of masks: check the path")
    note = _read_note(root)
    texts = dict(texts or {}) or {note["video"]: note["expressions"]} if note else dict(texts or {})
    leaves = {file.parent for file in root.rglob("*.png")} - {root}
    leaves = [leaf for leaf in leaves if not any(part[0] == "." for part in leaf.relative_to(root).parts)]
    leaves = sorted(leaves, key=lambda leaf: (leaf.parent.parts, natural_order(leaf)))
    if not leaves:
        raise UserError(f"{root}: has no masks <number>/<frame>.png: name the folder that --masks-dir wrote")
    by_video: dict[Path, list[Path]] = {}
    for leaf in leaves:
        by_video.setdefault(leaf.parent, []).append(leaf)
    return [_read_video(root, parent, folders, texts, note) for parent, folders in by_video.items()]


def _read_note(root: Path) -> dict | None:
    """`masks.json`, if `segment` left it."""
    path = root / NOTE
    if not path.is_file():
        return None
    try:
        note = decode_json(read_bytes(path, "config"))
        fps, texts = note["fps"], note["expressions"]
        sound = isinstance(note["video"], str) and all(isinstance(text, str) for text in texts.values())
        if not sound or not (fps is None or isinstance(fps, (int, float))):
            raise TypeError
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError(f"{path}: is damaged: remove it and give the expressions with --texts") from None
    return note


def _read_video(root: Path, parent: Path, folders: list[Path], texts: Mapping, note: dict | None) -> VideoMasks:
    name = parent.relative_to(root).as_posix().removeprefix(f"{TREE_TOP}/")
    if name == ".":
        name = note["video"] if note else next(iter(texts), None) or root.absolute().name
    files = {file.stem: file for folder in folders for file in folder.glob("*.png")}
    stems = [file.stem for file in sorted(files.values(), key=lambda file: natural_order(Path(file.name)))]
    size, tracks = None, []
    for folder in folders:
        track, size = _read_track(folder, stems, size)
        tracks.append(track)
    table = texts.get(name, {})
    ids = [folder.name for folder in folders]
    labels = [table.get(number, number) for number in ids]
    return VideoMasks(name, stems, size, labels, tracks, ids, fps=note["fps"] if note else None)


def _read_track(folder: Path, stems: list[str], size: tuple[int, int] | None) -> tuple[Track, tuple[int, int]]:
    track: Track = []
    for stem in stems:
        path = folder / f"{stem}.png"
        size = size or to_frame(path, str(path)).shape[:2]
        mask = read_mask_values(path, size, remedy="every expression needs a mask of every frame") > 0
        track.append(encode_rle(mask) if np.any(mask) else None)
    return track, size


# --- frames ----------------------------------------------------------------------------------------------------------


class VideoFile:
    """The first frames of a video file, decoded each time they are asked for."""

    def __init__(self, path: Path, num_frames: int):
        self.path, self.num_frames = path, num_frames

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(load_video(self.path, max_frames=self.num_frames).frames)


def add_frames(video: VideoMasks, source: Path, keep: bool) -> VideoMasks:
    """The masks with the frame rate of their video, the suffix of its images and, if asked to `keep` them, its frames.

    Raises:
        UserError: the video does not fit the masks.
    """
    if source.is_dir():
        files = list_images(source)
        found = {file.stem: file for file in files}
        missing = [name for name in video.frame_names if name not in found]
        if missing:
            raise UserError(
                f"{source}: has no frame {missing[0]} for the masks of {video.video!r}; pass the video they are of"
            )
        chosen = [found[name] for name in video.frame_names]
        check_size(chosen[0], to_frame(chosen[0], str(chosen[0])).shape[:2], video.size, of="a mask")
        return replace(video, suffix=chosen[0].suffix, frames=chosen if keep else None)
    clip = load_video(source, max_frames=len(video.frame_names))
    if len(clip) < len(video.frame_names):
        raise UserError(
            f"{source}: has {len(clip)} frames, but there are {len(video.frame_names)} masks; pass the video "
            "they are of"
        )
    check_size(source, (clip.height, clip.width), video.size, of="a mask")
    return replace(video, fps=video.fps or clip.fps, frames=VideoFile(source, len(clip)) if keep else None)


__all__ = ["NOTE", "VideoFile", "add_frames", "read_mask_folder", "write_note"]
