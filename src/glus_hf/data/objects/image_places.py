"""Where the images of a dataset are: in a folder or a tar, with all or with the last parts of their names."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ...errors import DatasetFileError, TarError
from ..dataset_files import check_name
from ..tar_frames import open_tar


class ImagePlaces:
    """Addresses of images by the names that an annotation file has for them.

    Downloads are unpacked in more than one way: `images/v1/patch8/a.jpg` may be `train/patch8/a.jpg`. The first image
    tells which of the folders it is, and how many first parts of the names are left out.

    Args:
        folders: where the images may be, best first; each may also be an uncompressed tar of the same name.
        origin: the annotation file, for errors.

    Raises:
        DatasetFileError: there is none of the folders.

    Example:
        >>> ImagePlaces(["/data/coco/train2017"], "instances.json").address("1.jpg")  # doctest: +SKIP
        '/data/coco/train2017/1.jpg'
    """

    def __init__(self, folders: Sequence[str], origin: str):
        self.folders, self.origin = [os.path.abspath(folder) for folder in folders], origin
        self._place: tuple[str, int, str] | None = None  # a folder or tar, parts left out, start of members' names

    def address(self, name) -> str:
        """The address of an image, as [`read_frame`] takes it.

        Raises:
            DatasetFileError: the name leads out of the folder; or the first image is in none of the folders.
        """
        parts = check_name(name, "image", self.origin).split("/")
        if self._place is None or self._place[1] >= len(parts):
            self._place = self._find(parts)
        source, dropped, prefix = self._place
        rest = "/".join(parts[dropped:])
        return f"tar://{prefix}{rest}::{source}" if source.endswith(".tar") else os.path.join(source, rest)

    def _find(self, parts: list[str]) -> tuple[str, int, str]:
        for dropped in range(len(parts)):
            rest = "/".join(parts[dropped:])
            for folder in self.folders:
                if os.path.isfile(os.path.join(folder, rest)):
                    return folder, dropped, ""
                if os.path.isfile(f"{folder}.tar"):
                    prefix = self._prefix(f"{folder}.tar", rest)
                    if prefix is not None:
                        return f"{folder}.tar", dropped, prefix
        name, looked = "/".join(parts), ", ".join(self.folders)
        raise DatasetFileError(f"{self.origin}: the image {name} is in none of {looked}; check data_dir")

    def _prefix(self, tar: str, rest: str) -> str | None:
        """What goes before a name in a tar."""
        try:
            members = open_tar(tar)
        except TarError as error:
            raise DatasetFileError(str(error)) from None
        folder, _, _ = rest.rpartition("/")
        names = [rest, f"{os.path.basename(tar).removesuffix('.tar')}/{rest}", f"./{rest}"]
        names += [f"{found}/{rest}" for found in members.folders.get(folder.rpartition("/")[2], [])]
        return next((name.removesuffix(rest) for name in names if name in members), None)


__all__ = ["ImagePlaces"]
