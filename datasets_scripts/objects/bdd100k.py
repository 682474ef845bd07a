"""BDD100K: boxes, or instances with masks. Layout and options: docs/object-datasets.md."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from glus_hf.data.dataset_files import SourceFiles, first_existing, header_size
from glus_hf.data.json_rows import JsonRows, cached_by_file
from glus_hf.data.objects.coco_file import require_list
from glus_hf.data.objects.image_places import ImagePlaces
from glus_hf.data.objects.object_builder import ObjectDatasetBuilder, ObjectDatasetConfig
from glus_hf.data.objects.object_schema import FoundImage, FoundObject, mask_box
from glus_hf.errors import DatasetContentError, DatasetFileError


NAMES = {
    "det": (
        "pedestrian", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle", "traffic light", "traffic sign"
    ),
    "ins_seg": ("pedestrian", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
}  # fmt: skip
FILES = {
    "det": ("labels/det_20/det_{split}.json",),
    "ins_seg": ("labels/ins_seg/rles/ins_seg_{split}.json", "labels/ins_seg/polygons/ins_seg_{split}.json"),
}
IMAGES = {"det": "images/100k/{split}", "ins_seg": "images/10k/{split}"}


@dataclass
class BDD100KConfig(ObjectDatasetConfig):
    """`task`: "det", 100,000 images with boxes, or "ins_seg", 10,000 with masks too."""

    task: str = "det"


class BDD100K(ObjectDatasetBuilder):
    """BDD100K: 10 categories of traffic with boxes, 8 of them with masks."""

    BUILDER_CONFIG_CLASS = BDD100KConfig
    SPLITS = ("train", "val")
    FOLDERS = ("bdd100k", "bdd", "BDD100K", "BDD")
    LICENSE = "BSD-3-Clause"

    def source_files(self, root: str, split: str) -> SourceFiles:
        if self.config.task not in NAMES:
            raise DatasetFileError(f"bdd100k: unknown task {self.config.task!r}: use {' or '.join(NAMES)}")
        candidates = [os.path.join(root, name.format(split=split)) for name in FILES[self.config.task]]
        found = first_existing(candidates)
        if found is None:
            raise DatasetFileError(f"bdd100k {split}: looked for {', '.join(candidates)}; check data_dir and task")
        return SourceFiles((found,), (), self._folder(root, split))

    def _folder(self, root: str, split: str) -> str:
        return os.path.join(root, IMAGES[self.config.task].format(split=split))

    def names(self, split: str) -> list[str]:
        return list(NAMES[self.config.task])

    def images(self, split: str, part: str) -> Iterator[FoundImage]:
        rows, places = _open(part), ImagePlaces([self._folder(self.config.data_dir, split)], part)
        name = "frames" if "frames" in rows else ""
        require_list(part, rows, name)
        for index in range(len(rows[name])):
            row = rows.read(name, index)
            path = places.address(row.get("name"))
            labels = [] if row.get("labels") is None else row["labels"]
            if not isinstance(labels, list) or not all(isinstance(each, dict) for each in labels):
                raise DatasetContentError(f"{part}: image {row['name']}: 'labels' is no list of objects")
            size = header_size(path)
            found = [_object(f"{part}: image {row['name']}", each, size) for each in labels]
            wanted = [each for each in found if each.name in NAMES[self.config.task]]
            yield FoundImage(row["name"], path, size, wanted)


_open = cached_by_file(JsonRows)


def _object(where: str, label: dict, size: tuple[int, int]) -> FoundObject:
    where = f"{where}, object {label.get('id')}"
    if type(label.get("id")) not in (int, str):
        raise DatasetContentError(f"{where}: has no id")
    if not isinstance(label.get("category"), str):
        raise DatasetContentError(f"{where}: has no 'category'")
    segmentation = label.get("rle") or _polygons(where, label.get("poly2d"))
    corners = label.get("box2d")
    if isinstance(corners, dict):
        box = [corners.get(side) for side in ("x1", "y1", "x2", "y2")]
    else:
        box = None if segmentation is None else mask_box(where, segmentation, size)
    attributes = label.get("attributes")
    is_crowd = isinstance(attributes, dict) and attributes.get("crowd") is True
    return FoundObject(str(label["id"]), box, segmentation, label.get("category"), is_crowd=is_crowd)


def _polygons(where: str, polygons) -> list | None:
    if polygons is None:
        return None
    try:
        if any("C" in polygon.get("types", "") for polygon in polygons):
            raise DatasetFileError(f"{where}: its outline is curved; download the run lengths, labels/ins_seg/rles")
        return [[value for point in polygon["vertices"] for value in point] for polygon in polygons]
    except (TypeError, KeyError, AttributeError):
        raise DatasetContentError(f"{where}: 'poly2d' is no list of polygons") from None
