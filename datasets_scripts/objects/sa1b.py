"""SA-1B. Layout and options: docs/object-datasets.md."""

from __future__ import annotations

import os
from dataclasses import dataclass

from glus_hf.data.dataset_files import SourceFiles
from glus_hf.data.objects.coco_file import corners
from glus_hf.data.objects.object_schema import ANYTHING, FoundImage, FoundObject
from glus_hf.data.objects.part_masks import OVERLAP, whole_objects
from glus_hf.data.objects.shard_builder import ShardBuilder, ShardConfig
from glus_hf.data.objects.shards import Shard, find_shards
from glus_hf.errors import DatasetContentError, DatasetFileError
from glus_hf.media.rle import clean_masks


@dataclass
class SA1BConfig(ShardConfig):
    """`part_overlap`: masks of which more than this share lies in a larger one are parts and left out; None keeps
    all."""

    part_overlap: float | None = OVERLAP


class SA1B(ShardBuilder):
    """SA-1B: masks of everything, without categories; parts of objects are left out."""

    BUILDER_CONFIG_CLASS = SA1BConfig
    FOLDERS = ("SA1B", "sa1b", "SA-1B", "sa-1b")
    LICENSE = "SA-1B Dataset Research License"

    def source_files(self, root: str, split: str) -> SourceFiles:
        self.check_options()
        overlap = self.config.part_overlap
        if overlap is not None and not (type(overlap) in (int, float) and 0 <= overlap <= 1):
            raise DatasetFileError(f"sa1b: part_overlap must be a number from 0 to 1, got {overlap!r}")
        return find_shards([root, os.path.join(root, "images")], "sa1b train")

    def names(self, split: str) -> list[str]:
        return [ANYTHING]

    def image(self, shard: Shard, key: str, content: dict) -> FoundImage:
        where = f"{shard.path}: {key}.json"
        image, annotations = content.get("image"), content.get("annotations")
        if not isinstance(image, dict) or not isinstance(annotations, list):
            raise DatasetContentError(f"{where}: has no 'image' and 'annotations'")
        size = (image.get("height"), image.get("width"))
        objects = [_object(where, each) for each in annotations]
        return FoundImage(key.rpartition("/")[2], shard.image(key), size, self._whole(where, objects, size))

    def _whole(self, where: str, objects: list[FoundObject], size) -> list[FoundObject]:
        if self.config.part_overlap is None or not all(type(side) is int for side in size):
            return objects
        masks = clean_masks(
            [each.segmentation for each in objects], size, [f"{where}, {each.object_id}" for each in objects]
        )
        visible = [index for index, mask in enumerate(masks) if mask is not None]
        kept = whole_objects([masks[index] for index in visible], self.config.part_overlap)
        return [objects[visible[index]] for index in kept]


def _object(where: str, annotation) -> FoundObject:
    if not isinstance(annotation, dict) or type(annotation.get("id")) not in (int, str):
        raise DatasetContentError(f"{where}: an annotation has no id")
    return FoundObject(
        str(annotation["id"]),
        corners(annotation.get("bbox")),
        annotation.get("segmentation"),
        ANYTHING,
        area=annotation.get("area"),
    )
