"""Visual Genome. Layout and options: docs/object-datasets.md."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from glus_hf.data.dataset_files import SourceFiles, require_files
from glus_hf.data.json_rows import JsonRows, cached_by_file
from glus_hf.data.objects.coco_file import corners, require_list
from glus_hf.data.objects.image_places import ImagePlaces
from glus_hf.data.objects.object_builder import ObjectDatasetBuilder, ObjectDatasetConfig
from glus_hf.data.objects.object_schema import FoundImage, FoundObject, plain_name
from glus_hf.data.strict_json import cached_json
from glus_hf.errors import DatasetContentError, DatasetFileError
from glus_hf.rows import first_repeated


FILES = {"regions": "region_descriptions.json", "objects": "objects.json"}
DENSECAP = "densecap_splits.json"


@dataclass
class VisualGenomeConfig(ObjectDatasetConfig):
    """`annotations`: "regions", boxes with descriptions, or "objects", boxes with names."""

    annotations: str = "regions"


class VisualGenome(ObjectDatasetBuilder):
    """Visual Genome: boxes of regions with a description each, or of objects with a name each."""

    BUILDER_CONFIG_CLASS = VisualGenomeConfig
    SPLITS = ("full", "train", "val", "test")
    FOLDERS = ("visual_genome", "VisualGenome", "vg")
    LICENSE = "CC BY 4.0"

    def source_files(self, root: str, split: str) -> SourceFiles:
        if self.config.annotations not in FILES:
            raise DatasetFileError(f"visual_genome: annotations must be {' or '.join(FILES)}")
        names = [FILES[self.config.annotations], "image_data.json", *([] if split == "full" else [DENSECAP])]
        folders = [root, os.path.join(root, "annotations")]
        folder = next((each for each in folders if os.path.exists(os.path.join(each, names[0]))), root)
        files = [os.path.join(folder, name) for name in names]
        require_files(files, f"visual_genome {split}")
        return SourceFiles(tuple(files))

    def images(self, split: str, part: str) -> Iterator[FoundImage]:
        _, images, *splits = self.source[split].metadata
        wanted, sizes, rows = _ids(splits[0], split) if splits else None, _images(images), _open(part)
        places = ImagePlaces([self.config.data_dir, os.path.join(self.config.data_dir, "images")], images)
        require_list(part, rows, "")
        for index in range(len(rows[""])):
            row = rows.read("", index)
            image_id = row.get("id", row.get("image_id"))
            if type(image_id) is not int or image_id not in sizes:
                raise DatasetContentError(f"{part}: the image {image_id!r:.80} is not in {images}")
            if wanted is None or image_id in wanted:
                yield self._image(part, image_id, row, sizes[image_id], places)

    def _image(self, part: str, image_id: int, row: dict, image: dict, places: ImagePlaces) -> FoundImage:
        kind = self.config.annotations
        where, found = f"{part}: image {image_id}", row.get(kind)
        if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
            raise DatasetContentError(f"{where}: has no list {kind!r}")
        make = _region if kind == "regions" else _object
        objects = [make(where, each) for each in found if kind == "objects" or str(each.get("phrase", "")).strip()]
        name = "/".join(str(image.get("url", "")).split("/")[-2:])
        return FoundImage(str(image_id), places.address(name), (image.get("height"), image.get("width")), objects)


_open = cached_by_file(JsonRows)


def _images(path: str) -> dict[int, dict]:
    content = cached_json(path)
    if not isinstance(content, list) or not all(isinstance(each, dict) for each in content):
        raise DatasetContentError(f"{path}: is no list of images")
    ids = [each.get("image_id") for each in content]
    if wrong := [each for each in ids if type(each) is not int]:
        raise DatasetContentError(f"{path}: {wrong[0]!r:.80} is no id of an image")
    if first_repeated(ids) is not None:
        raise DatasetContentError(f"{path}: two images have the id {first_repeated(ids)}")
    return dict(zip(ids, content, strict=True))


def _ids(path: str, split: str) -> set[int]:
    content = cached_json(path)
    ids = content.get(split) if isinstance(content, dict) else None
    if not isinstance(ids, list) or not all(type(each) is int for each in ids):
        raise DatasetContentError(f"{path}: has no list of ids {split!r}")
    return set(ids)


def _region(where: str, region: dict) -> FoundObject:
    box = corners([region.get(side) for side in ("x", "y", "width", "height")])
    return FoundObject(_id(where, region, "region_id"), box, descriptions=[region["phrase"]])


def _object(where: str, found: dict) -> FoundObject:
    box = corners([found.get(side) for side in ("x", "y", "w", "h")])
    names = found.get("names")
    name = plain_name(f"{where}: object", names[0] if isinstance(names, list) and names else None)
    return FoundObject(_id(where, found, "object_id"), box, name=name)


def _id(where: str, row: dict, field: str) -> str:
    if type(row.get(field)) is not int:
        raise DatasetContentError(f"{where}: has no {field!r}")
    return str(row[field])
