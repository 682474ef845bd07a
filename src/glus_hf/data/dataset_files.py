"""Files of a dataset: where they are, whether their names are safe, and when they last changed."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..errors import DatasetContentError, DatasetFileError, TarError
from ..media.open_image import open_image, orientation
from ..safe_files import open_file
from .tar_frames import open_tar


IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")


@dataclass(frozen=True)
class SourceFiles:
    """What the rows of one split are made from.

    Attributes:
        metadata: files; name, size and times of change go into the cache key.
        annotations: folders of masks; every file in them goes into the cache key.
        frames: folder or tar with the images. Of a folder only the path goes into the cache key, of a tar its size
            and times of change too.
    """

    metadata: tuple[str, ...] = ()
    annotations: tuple[str, ...] = ()
    frames: str | None = None

    def fingerprint(self) -> str:
        """Digest that changes when a file is edited, added, removed or replaced.

        Raises:
            DatasetFileError: a file is gone, or what should be a folder is none.
        """
        digest = hashlib.sha256()
        try:
            lines = sorted(self._lines())
        except OSError as error:
            raise DatasetFileError(
                f"{error.filename}: cannot be read ({error.strerror}): check the download"
            ) from None
        for line in lines:
            digest.update(line.encode("utf-8", "surrogateescape") + b"\n")
        return digest.hexdigest()[:16]

    def _lines(self) -> Iterator[str]:
        for file in self.metadata:
            yield _stat_line(file, os.stat(file))
        for folder in self.annotations:
            status = os.stat(folder)
            yield from _stat_tree(folder, ((status.st_dev, status.st_ino),))
        if self.frames and os.path.isfile(self.frames):
            yield _stat_line(self.frames, os.stat(self.frames))
        yield f"frames {self.frames}"


def _stat_line(name: str, status: os.stat_result) -> str:
    """An edit may keep the size and set the time of change back, but not that of the inode."""
    return f"{name} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _stat_tree(folder: str, above: tuple = ()) -> Iterator[str]:
    """Lines of all files below `folder`; links are followed, but not into the folders `above` or into nothing."""
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                is_folder, status = entry.is_dir(), entry.stat()
            except OSError:
                is_folder, status = False, entry.stat(follow_symlinks=False)
            here = (status.st_dev, status.st_ino)
            if not is_folder:
                yield _stat_line(entry.path, status)
            elif here not in above:
                yield from _stat_tree(entry.path, (*above, here))


def check_name(name, kind: str, file: str) -> str:
    """Return `name` if it is a relative path that stays inside its folder.

    Names of videos, frames and expressions come out of downloaded files and become paths that are read and written.

    Args:
        name: may hold `/` (ReVOS' videos do).
        kind: what it names, for the error ("frame of video 'abc'").
        file: where it was found, for the error.

    Raises:
        DatasetFileError: it is not a string, is empty or absolute, or holds `..`, a backslash or a control character.

    Example:
        >>> check_name("UVO/all/2E4T5NCywcE", "video", "meta_expressions.json")
        'UVO/all/2E4T5NCywcE'
    """
    if not isinstance(name, str):
        kind_found = type(name).__name__
        raise DatasetFileError(f"{file}: {kind} {name!r} is a {kind_found}, not a string: download the file again")
    parts = name.split("/")
    if not {"", ".", ".."}.isdisjoint(parts) or re.search(r"^[A-Za-z]:|::|[\\\x00-\x1f\x7f]", name):
        raise DatasetContentError(
            f"{file}: {kind} {name!r} is not a plain name: absolute paths, '..', '::' and '\\' are not allowed"
        )
    return name


def require_files(files: Iterable[str], what: str) -> None:
    """Raise [`DatasetFileError`] with all of `files` that are missing."""
    missing = [file for file in files if not os.path.exists(file)]
    if missing:
        raise DatasetFileError(f"{what}: missing {', '.join(missing)}: check data_dir and the download")


def first_existing(candidates: Iterable[str]) -> str | None:
    """First of `candidates` that exists, or None."""
    return next((path for path in candidates if os.path.exists(path)), None)


def find_frames(folders: Iterable[str], what: str) -> str:
    """The first of `folders` that is there, as a folder or as a tar of the same name (`JPEGImages.tar`).

    Raises:
        DatasetFileError: none is; the message lists what was looked for.
    """
    folders = list(folders)
    candidates = [candidate for folder in folders for candidate in (folder, f"{folder}.tar")]
    found = first_existing(candidates)
    if found is None:
        raise DatasetFileError(f"{what}: no frames: looked for {', '.join(candidates)}; check data_dir")
    return found


class FrameFolder:
    """Frames `<video>/<frame>.jpg` in a folder or a tar.

    Args:
        source: folder, or uncompressed tar whose members end in `<video>/<frame>.jpg`.
    """

    def __init__(self, source: str):
        self.source = os.path.abspath(source)
        self.is_tar = os.path.isfile(source)

    def paths(self, video_id: str, frames: list[str]) -> list[str]:
        """One address per frame, as [`read_frame`] takes them. Looks only for the first frame.

        Raises:
            DatasetFileError: the first frame is not there.
        """
        if not frames:
            return []
        if self.is_tar:
            folder, suffix = self._find_member(video_id, frames[0])
            return [f"tar://{folder}/{frame}{suffix}::{self.source}" for frame in frames]
        stem = os.path.join(self.source, video_id, frames[0])
        suffix = next((suffix for suffix in IMAGE_SUFFIXES if os.path.exists(stem + suffix)), None)
        if suffix is None:
            raise DatasetFileError(f"{stem}.jpg: no such frame of video {video_id!r}: unpack the images again")
        return [os.path.join(self.source, video_id, frame + suffix) for frame in frames]

    def _find_member(self, video_id: str, frame: str) -> tuple[str, str]:
        try:
            members = open_tar(self.source)
        except TarError as error:
            raise DatasetFileError(str(error)) from None
        folders = members.folders.get(video_id.rpartition("/")[2], [])
        # the shortest first: "x/JPEGImages/a/b" also ends in the video "b" but belongs to "a/b"
        folders = sorted((folder for folder in folders if f"/{folder}".endswith(f"/{video_id}")), key=len)
        for suffix in IMAGE_SUFFIXES:  # JPEG before PNG in all of them: there may be masks beside the frames
            for folder in folders:
                if f"{folder}/{frame}{suffix}" in members:
                    return folder, suffix
        raise DatasetFileError(f"{self.source}: no member {video_id}/{frame}.jpg: download the archive again")


def image_size(path: str) -> tuple[int, int]:
    """`(height, width)` of the frame at an address, EXIF orientation applied.

    Raises:
        DatasetFileError: it cannot be read as an image.
    """
    file = path
    if path.startswith("tar://"):
        file = open_tar(path.partition("::")[2]).open(path.removeprefix("tar://").partition("::")[0])
    image = open_image(file, path, remedy="download or unpack it again", error=DatasetFileError)
    return image.size if orientation(image) in (5, 6, 7, 8) else image.size[::-1]


def header_size(path: str) -> tuple[int, int]:
    """[`image_size`] by the header alone, which does not tell whether the rest is whole.

    Raises:
        DatasetFileError: it is missing, or no image.
    """
    if path.startswith("tar://"):
        file = open_tar(path.partition("::")[2]).open(path.removeprefix("tar://").partition("::")[0])
    else:
        file = open_file(path, "image", DatasetFileError)
    with file:
        image = open_image(file, path, remedy="download or unpack it again", error=DatasetFileError, decode=False)
        return image.size if orientation(image) in (5, 6, 7, 8) else image.size[::-1]
