"""Any files in the format of COCO or of YouTube-VIS. Options: docs/object-datasets.md."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from glus_hf.data.dataset_files import SourceFiles, require_files
from glus_hf.data.objects.coco_file import coco_images, open_coco_file
from glus_hf.data.objects.object_builder import ObjectDatasetBuilder, ObjectDatasetConfig
from glus_hf.data.objects.object_schema import ANYTHING, FoundImage
from glus_hf.errors import DatasetFileError


@dataclass
class CocoFormatConfig(ObjectDatasetConfig):
    """`annotations`: the JSON file; `images`: the folder that its names start from. Both are below the folder of the
    data, `{split}` in them is the split. `agnostic`: call every object "object"."""

    annotations: str = "annotations/{split}.json"
    images: str = "{split}"
    agnostic: bool = False


class CocoFormat(ObjectDatasetBuilder):
    """Files in the format of COCO or YouTube-VIS."""

    BUILDER_CONFIG_CLASS = CocoFormatConfig
    LICENSE = "yours"

    def source_files(self, root: str, split: str) -> SourceFiles:
        paths = [os.path.join(root, self._named(name, split)) for name in ("annotations", "images")]
        require_files(paths[:1], f"coco_format {split}")
        return SourceFiles((paths[0],), (), paths[1])

    def _named(self, option: str, split: str) -> str:
        value = getattr(self.config, option)
        if not isinstance(value, str):
            raise DatasetFileError(f"coco_format: {option} must be a path, got {value!r}")
        return value.replace("{split}", split)

    def names(self, split: str) -> list[str]:
        return [ANYTHING] if self.config.agnostic else open_coco_file(self.source[split].metadata[0]).names

    def frequencies(self, split: str) -> dict[str, str]:
        return open_coco_file(self.source[split].metadata[0]).frequencies

    def images(self, split: str, part: str) -> Iterator[FoundImage]:
        return coco_images(part, [self.source[split].frames], self.config.agnostic)
