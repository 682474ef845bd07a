"""Write a folder of own data: place videos, note expressions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from ...atomic_write import new_folder
from ...errors import DatasetFileError
from ...media.images import IMAGE_SUFFIXES
from ...media.rle import Track
from ...media.sizes import check_size
from ...safe_files import check_regular
from ..dataset_files import check_name, header_size
from ..strict_json import read_json
from .expressions import EXPRESSIONS
from .videos import VIDEO_SUFFIXES, VIDEOS, OwnVideo, open_video


class OwnFolder:
    """A folder of own data that is being made. `counts` has the numbers of videos, expressions and frames."""

    def __init__(self, folder: Path, lines, copy: bool):
        self.folder, self.lines, self.copy = folder, lines, copy
        self.counts = {"videos": 0, "expressions": 0, "frames": 0}

    def add_video(self, source: Path, name: str) -> OwnVideo:
        """Link or copy a video file, or the images of a folder, and open it.

        Raises:
            ValueError: it is no video, or the name is no plain path.
        """
        target = self.folder / VIDEOS / check_name(name, "video", str(source))
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            target.mkdir()
            for file in sorted(source.iterdir()):
                if file.suffix.lower() in IMAGE_SUFFIXES:
                    self._place(file, target / file.name)
        else:
            self._place(source, target.parent / (target.name + source.suffix))
        return self._opened(name)

    def add_frames(
        self, paths: Sequence[str], names: Sequence[str], name: str, read: Callable[[str], np.ndarray]
    ) -> OwnVideo:
        """Link or copy the frames of a video that are image files, write the others as PNG, and open it.

        Args:
            paths: addresses of the frames, in order.
            names: their names without suffix.
            name: of the video.
            read: from the address to `[height, width, 3]`, uint8.

        Raises:
            ValueError: the name is no plain path, or a frame cannot be read.
        """
        target = self.folder / VIDEOS / check_name(name, "video", str(self.folder))
        target.mkdir(parents=True)
        for path, frame in zip(paths, names, strict=True):
            file = Path(path)
            if "://" not in path and file.suffix.lower() in IMAGE_SUFFIXES:
                self._place(file, target / f"{frame}{file.suffix}")
            else:
                Image.fromarray(read(path)).save(target / f"{frame}.png")
        return self._opened(name)

    def _opened(self, name: str) -> OwnVideo:
        video = open_video(self.folder, name)
        check_frames(video.frame_paths, video.size)
        self.counts["videos"] += 1
        self.counts["frames"] += len(video.frames)
        return video

    def _place(self, source: Path, target: Path) -> None:
        check_regular(source, "image" if source.suffix.lower() in IMAGE_SUFFIXES else "video", DatasetFileError)
        if self.copy:
            shutil.copyfile(source, target)
        else:
            target.symlink_to(source.absolute())

    def add_expression(self, video: OwnVideo, text: str, objects: Iterable[dict]) -> None:
        """Note an expression about objects `{"id", "masks"}`, with one run length or None per frame."""
        line = {"video": video.name, "expression": text, "objects": list(objects)}
        self.lines.write(json.dumps(line, ensure_ascii=False) + "\n")
        self.counts["expressions"] += 1

    def add_objects(self, video: OwnVideo, tracks: dict[str, Track], texts: dict[str, str]) -> None:
        """Note objects by id. Those with one text make one expression, as in `convert_coco_video`."""
        by_text: dict[str, list[dict]] = {}
        for name, track in tracks.items():
            by_text.setdefault(texts[name].strip(), []).append({"id": name, "masks": track})
        for text, objects in by_text.items():
            self.add_expression(video, text, objects)


def check_frames(paths: Sequence[str], size: tuple[int, int]) -> None:
    """Refuse frames that are no images, or of another size, by their headers alone; frames of video files pass.

    Raises:
        DatasetFileError: names the frame; one line.
    """
    for path in paths:
        if not path.startswith("video://"):
            check_size(path, header_size(path), size, of="the first frame", error=DatasetFileError)


def check_text(path: Path) -> Path:
    """Refuse a name on disk that is no text: it becomes an id or an expression.

    Raises:
        DatasetFileError: it is not UTF-8; one line.
    """
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        raise DatasetFileError(f"{str(path)!r}: its name is not UTF-8; rename it") from None
    return path


@contextmanager
def new_own_folder(output: Path, copy: bool) -> Iterator[OwnFolder]:
    """A folder of own data that appears at `output` complete or not at all."""
    with new_folder(output) as folder, open(folder / EXPRESSIONS, "w", encoding="utf-8") as lines:
        yield OwnFolder(folder, lines, copy)


def find_source(frames: Path, name: str) -> Path:
    """`<frames>/<name>`, a folder of images or a video file.

    Raises:
        DatasetFileError: there is none.
    """
    folder = frames / check_name(name, "video", str(frames))
    if folder.is_dir():
        return folder
    files = [folder.parent / (folder.name + suffix) for suffix in VIDEO_SUFFIXES]
    found = next((file for file in files if file.is_file()), None)
    if found is None:
        raise DatasetFileError(
            f"{folder}: no such folder of frames, and no {folder.name}.mp4 beside it: check the path"
        )
    return found


def mask_folders(root: Path) -> list[Path]:
    """Folders below `root` that hold PNGs, in order.

    Raises:
        DatasetFileError: there is none.
    """
    if not root.is_dir():
        raise DatasetFileError(f"{root}: no such folder of masks: check the path")
    found = sorted({file.parent for file in root.rglob("*.png")} - {root})
    if not found:
        raise DatasetFileError(f"{root}: has no folders with .png masks: check the path")
    return [check_text(folder) for folder in found]


def read_texts(path: Path) -> dict[str, dict[str, str]]:
    """`{video: {number or name: text}}`, or `{"videos": {video: {"expressions": {id: {"exp": text}}}}}` as in MeViS.

    Raises:
        DatasetFileError: it is neither.
    """
    content = read_json(path)
    if isinstance(content, dict) and isinstance(content.get("videos"), dict):
        content = {name: _mevis_texts(video) for name, video in content["videos"].items()}
    tables = content.values() if isinstance(content, dict) else [None]
    for table in tables:
        if not isinstance(table, dict) or not all(isinstance(text, str) and text.strip() for text in table.values()):
            raise DatasetFileError(f'{path}: is not of the form {{"video": {{"1": "expression"}}}}: correct it')
    return content


def _mevis_texts(video) -> dict | None:
    expressions = video.get("expressions") if isinstance(video, dict) else None
    if not isinstance(expressions, dict):
        return None
    return {name: entry.get("exp") if isinstance(entry, dict) else None for name, entry in expressions.items()}


__all__ = ["OwnFolder", "find_source", "mask_folders", "new_own_folder", "read_texts"]
