"""One builder base for all datasets of images with objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...errors import DatasetFileError
from ..file_dataset_builder import FileDatasetBuilder, FileDatasetConfig
from .object_schema import OBJECT_FEATURES, FoundImage, object_row


@dataclass
class ObjectDatasetConfig(FileDatasetConfig):
    """Options of a builder; a dataset with options of its own adds fields."""


class ObjectDatasetBuilder(FileDatasetBuilder):
    """Base of the builders in `datasets_scripts/objects/<name>.py`.

    A subclass sets `SPLITS` and `FOLDERS` and implements `source_files`, `names`, `parts` and `images`; all may read
    `self.config`. `images` may run in another process than `parts`.

    Example:
        >>> builder = COCO(data_dir="data/coco", split="val")  # doctest: +SKIP
        >>> builder.names("val")[:2]  # doctest: +SKIP
        ['person', 'bicycle']
    """

    BUILDER_CONFIG_CLASS = ObjectDatasetConfig
    ROWS = OBJECT_FEATURES
    KIND = "objects_"
    PART = "image"
    ALIASES = {"validation": "val", "valid": "val"}

    @classmethod
    def own_name(cls) -> str:
        """Name of the dataset, for errors; `name` is known only when everything is read."""
        return cls.__module__.rpartition(".")[2]

    def names(self, split: str) -> list[str]:
        """The names of the categories in the order of their file; none where objects have descriptions instead."""
        return []

    def frequencies(self, split: str) -> dict[str, str]:
        """Of LVIS's names "r", "c" or "f": rare, common, frequent; none of other datasets."""
        return {}

    def parts(self, split: str) -> Sequence[str]:
        """Files or shards; by default the first annotation file."""
        return [self.source[split].metadata[0]]

    def images(self, split: str, part: str) -> Iterator[FoundImage]:
        """The images of a part in the order of their file."""
        raise NotImplementedError

    def part_rows(self, split: str, part: str) -> Iterator[tuple[str, dict]]:
        for image in self.images(split, part):
            yield f"{part}/{image.image_id}", object_row(self.name, image, part)

    def check_number(self, option: str, least: int) -> None:
        """Refuse an option that is no number, or too small; None is let pass."""
        value = getattr(self.config, option)
        if value is not None and (type(value) is not int or value < least):
            raise DatasetFileError(f"{self.own_name()}: {option} must be a number of at least {least}, got {value!r}")


__all__ = ["ObjectDatasetBuilder", "ObjectDatasetConfig"]
