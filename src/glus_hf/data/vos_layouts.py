"""Datasets of semi-supervised video object segmentation on disk: DAVIS, YouTube-VOS and MOSE.

| layout | frames | masks, palette PNGs with ids | list of videos |
| --- | --- | --- | --- |
| `davis` | `JPEGImages/480p/<video>/` | `Annotations/480p/<video>/` | `ImageSets/2017/<split>.txt` |
| `youtube-vos` | `<split>/JPEGImages/<video>/` | `<split>/Annotations/<video>/` | the folders of masks |
| `mose` | as `youtube-vos` | as `youtube-vos` | the folders of masks |

The masks of a video may be those of some frames only, as those that the servers give away: a first mask of every
object. An object starts on the first of these frames that shows it; in DAVIS and MOSE all start on the first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DatasetContentError, DatasetFileError
from ..media.images import list_images
from ..media.mask_png import read_mask_values
from ..safe_files import read_text
from .dataset_files import check_name, image_size
from .strict_json import read_json


LAYOUTS = ("davis", "youtube-vos", "mose")
VOID = 255


@dataclass(frozen=True)
class VosVideo:
    """A video with masks of its objects on some frames.

    Attributes:
        video_id: name of its folders.
        frames: names of its T frames, without suffix.
        frame_paths: their images.
        masks: by index of the frame, the palette PNG.
        size: (height, width).
        is_open: objects may start after the first frame.
    """

    video_id: str
    frames: tuple[str, ...]
    frame_paths: tuple[str, ...]
    masks: dict[int, str]
    size: tuple[int, int]
    is_open: bool

    def ids(self, frame_idx: int) -> np.ndarray:
        """Ids of the objects of a frame with a mask, `[height, width]` uint8: 0 is background, 255 void."""
        return read_mask_values(self.masks[frame_idx], self.size, f"video {self.video_id}")

    def starts(self) -> dict[int, int]:
        """By id of every object, the frame that it is given on.

        Raises:
            DatasetFileError: the first mask shows no object.
        """
        found: dict[int, int] = {}
        for frame_idx in sorted(self.masks)[: None if self.is_open else 1]:
            for value in np.unique(self.ids(frame_idx)).tolist():
                if value not in (0, VOID):
                    found.setdefault(value, frame_idx)
        if not found:
            raise DatasetFileError(f"video {self.video_id}: no mask shows an object; download the masks again")
        return dict(sorted(found.items()))


def find_vos_videos(root: str | os.PathLike, layout: str, split: str) -> list[VosVideo]:
    """The videos of a split, by name.

    Args:
        root: folder of the dataset.
        layout: one of `LAYOUTS`.
        split: as the dataset calls it: "val" of DAVIS, "valid" or "train" of the others.

    Raises:
        DatasetFileError: a folder or a file is missing, or a mask belongs to no frame; one line.

    Example:
        >>> find_vos_videos("DAVIS", "davis", "val")[0].video_id  # doctest: +SKIP
        'bike-packing'
    """
    if layout not in LAYOUTS:
        raise DatasetFileError(f"there is no layout {layout!r}; use {', '.join(LAYOUTS)}")
    root = Path(root)
    check_name(split, "split", str(root))
    top, resolution = (root, "480p") if layout == "davis" else (root / split, "")
    images, masks = top / "JPEGImages" / resolution, top / "Annotations" / resolution
    for folder in (images, masks):
        if not folder.is_dir():
            raise DatasetFileError(f"{folder}: no such folder; check the path, the layout and the split")
    names = _listed(root / "ImageSets" / "2017" / f"{split}.txt") if layout == "davis" else _folders(masks)
    if not names:
        raise DatasetFileError(f"{masks}: has no videos; check the path, the layout and the split")
    return [_find_video(images, masks, name, layout == "youtube-vos") for name in names]


def seen_objects(root: str | os.PathLike, split: str) -> dict[tuple[str, str], bool]:
    """Whether the categories of the objects of YouTube-VOS are among those of its training videos, by the two
    `meta.json`; empty where one of them is missing or names no categories.

    Args:
        root: folder of the dataset.
        split: "valid", for example.

    Returns:
        By `(video_id, object_id)`.

    Raises:
        DatasetFileError: a file is malformed; one line.

    Example:
        >>> seen_objects("YouTubeVOS", "valid")["0062f687f1", "1"]  # doctest: +SKIP
        True
    """
    files = [Path(root) / name / "meta.json" for name in ("train", split)]
    if not all(file.is_file() for file in files):
        return {}
    known, asked = (dict(_categories(file)) for file in files)
    categories = set(known.values())
    return {key: category in categories for key, category in asked.items()}


def _categories(path: Path) -> Iterator[tuple[tuple[str, str], str]]:
    content = read_json(path)
    try:
        for video_id, video in content["videos"].items():
            for object_id, found in video["objects"].items():
                if isinstance(found.get("category"), str):
                    yield (video_id, object_id), found["category"]
    except (AttributeError, KeyError, TypeError):
        raise DatasetContentError(f"{path}: has no videos with objects as YouTube-VOS has them") from None


def _listed(path: Path) -> list[str]:
    if not path.is_file():
        raise DatasetFileError(f"{path}: no such list of videos; check the path and the split")
    return [check_name(line, "video", str(path)) for line in read_text(path, "text").split()]


def _folders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())


def _find_video(images: Path, masks: Path, name: str, is_open: bool) -> VosVideo:
    for folder in (images / name, masks / name):
        if not folder.is_dir():
            raise DatasetFileError(f"{folder}: no such folder of video {name!r}; download it again")
    files = list_images(images / name)
    stems = [file.stem for file in files]
    by_frame = dict(_masks_of(masks / name, stems))
    if not by_frame:
        raise DatasetFileError(f"{masks / name}: has no masks of the frames of {name!r}; download them again")
    size = image_size(str(files[0]))
    return VosVideo(name, tuple(stems), tuple(str(file) for file in files), by_frame, size, is_open)


def _masks_of(folder: Path, stems: list[str]) -> Iterator[tuple[int, str]]:
    index = {stem: number for number, stem in enumerate(stems)}
    for file in sorted(folder.glob("*.png")):
        if file.stem not in index:
            raise DatasetFileError(f"{file}: there is no frame {file.stem}; download the frames again")
        yield index[file.stem], str(file)


__all__ = ["LAYOUTS", "VOID", "VosVideo", "find_vos_videos", "seen_objects"]
