"""Shards of images with one JSON file each: uncompressed tars, or folders that they were unpacked into."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ...errors import DatasetFileError, TarError
from ...safe_files import read_bytes
from ..dataset_files import IMAGE_SUFFIXES, SourceFiles
from ..strict_json import parse_json
from ..tar_frames import TarFrames, open_tar


def find_shards(folders: list[str], what: str) -> SourceFiles:
    """The tars of the first of `folders` that has some, else its subfolders with JSON files, else itself.

    Raises:
        DatasetFileError: there is none; one line with what was looked for.
    """
    for folder in filter(os.path.isdir, folders):
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        tars = tuple(entry.path for entry in entries if entry.name.endswith(".tar") and entry.is_file())
        inside = tuple(entry.path for entry in entries if entry.is_dir() and _has_json(entry.path))
        if tars:
            return SourceFiles(tars)
        if inside or _has_json(folder):
            return SourceFiles((), inside or (folder,), folder)
    looked = ", ".join(folders)
    raise DatasetFileError(
        f"{what}: no shards: looked for *.tar, and for folders with *.json, in {looked}; check data_dir"
    )


def _has_json(folder: str) -> bool:
    return any(entry.name.endswith(".json") for entry in os.scandir(folder))


class Shard:
    """The samples of a shard, each `KEY.json` beside `KEY.jpg`.

    Args:
        path: tar or folder.

    Raises:
        DatasetFileError: it cannot be read; one line.
    """

    def __init__(self, path: str):
        self.path, self.is_tar = os.path.abspath(path), os.path.isfile(path)

    def names(self) -> list[str]:
        """Names of the samples without suffix, in the order of the tar or of their names."""
        names = self._tar() if self.is_tar else sorted(os.listdir(self.path))
        return [
            name.removesuffix(".json") for name in names if name.endswith(".json") and not name.endswith("_stats.json")
        ]

    def read(self, key: str) -> dict:
        """What the JSON file of a sample holds."""
        name = f"{self.path}: {key}.json"
        data = self._read_member(f"{key}.json")
        content = parse_json(data, name)
        if not isinstance(content, dict):
            raise DatasetFileError(f"{name}: is no object; download it again")
        return content

    def image(self, key: str) -> str:
        """The address of the image of a sample.

        Raises:
            DatasetFileError: there is none.
        """
        for suffix in IMAGE_SUFFIXES:
            if self.is_tar and f"{key}{suffix}" in self._tar():
                return f"tar://{key}{suffix}::{self.path}"
            file = os.path.join(self.path, f"{key}{suffix}")
            if not self.is_tar and os.path.exists(file):
                return file
        raise DatasetFileError(f"{self.path}: {key}.jpg: no such image beside its JSON; download the shard again")

    def samples(self, wanted=None) -> Iterator[tuple[str, dict]]:
        """Key and content of every sample, or of those in `wanted`."""
        for key in self.names():
            if wanted is None or key in wanted:
                yield key, self.read(key)

    def _tar(self) -> TarFrames:
        try:
            return open_tar(self.path)
        except TarError as error:
            raise DatasetFileError(str(error)) from None

    def _read_member(self, name: str) -> bytes:
        if self.is_tar:
            return self._tar().read(name)
        return read_bytes(os.path.join(self.path, name), "json", DatasetFileError)


__all__ = ["Shard", "find_shards"]
