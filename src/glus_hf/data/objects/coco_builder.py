"""Builder base for datasets whose files are in the format of COCO or of YouTube-VIS."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ...errors import DatasetFileError
from ..dataset_files import SourceFiles, first_existing
from .coco_file import coco_images, open_coco_file
from .object_builder import ObjectDatasetBuilder
from .object_schema import ANYTHING, FoundImage


class CocoFormatBuilder(ObjectDatasetBuilder):
    """A subclass sets, for every split, `FILES`, the names that its annotation file may have, best first, and
    `IMAGES`, the folders that its images may be in. Both start from the folder of the dataset and may hold `..`."""

    FILES: dict[str, tuple[str, ...]] = {}
    IMAGES: dict[str, tuple[str, ...]] = {}
    AGNOSTIC = False  # every object is "object"

    def source_files(self, root: str, split: str) -> SourceFiles:
        candidates = [os.path.normpath(os.path.join(root, name)) for name in self.FILES[split]]
        found = first_existing(candidates)
        if found is None:
            looked = ", ".join(candidates)
            raise DatasetFileError(f"{self.own_name()} {split}: no annotations: looked for {looked}; check data_dir")
        return SourceFiles((found,), (), self.image_folders(root, split)[0])

    def image_folders(self, root: str, split: str) -> list[str]:
        """Where the images of a split may be."""
        return [os.path.normpath(os.path.join(root, name)) for name in self.IMAGES[split]]

    def names(self, split: str) -> list[str]:
        return [ANYTHING] if self.AGNOSTIC else open_coco_file(self.source[split].metadata[0]).names

    def frequencies(self, split: str) -> dict[str, str]:
        return open_coco_file(self.source[split].metadata[0]).frequencies

    def images(self, split: str, part: str) -> Iterator[FoundImage]:
        return coco_images(part, self.image_folders(self.config.data_dir, split), self.AGNOSTIC)


__all__ = ["CocoFormatBuilder"]
