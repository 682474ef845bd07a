"""OpenImages V6, from its tables. Layout: docs/object-datasets.md."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator

from glus_hf.data.dataset_files import SourceFiles, first_existing, header_size
from glus_hf.data.json_rows import KIND, cached_by_file
from glus_hf.data.objects.image_places import ImagePlaces
from glus_hf.data.objects.object_builder import ObjectDatasetBuilder
from glus_hf.data.objects.object_schema import FoundImage, FoundObject
from glus_hf.errors import DatasetContentError, DatasetFileError
from glus_hf.safe_files import open_file


class OpenImages(ObjectDatasetBuilder):
    """OpenImages V6: 600 categories with boxes; a box of a group is a crowd."""

    SPLITS = ("train", "validation", "test")
    ALIASES = {"val": "validation", "valid": "validation"}
    FOLDERS = ("openimages", "OpenImages", "open_images")
    LICENSE = "annotations CC BY 4.0, images CC BY 2.0"

    def source_files(self, root: str, split: str) -> SourceFiles:
        names = (f"oidv6-{split}-annotations-bbox.csv", f"{split}-annotations-bbox.csv")
        boxes = _find(root, split, names)
        classes = _find(root, split, ("class-descriptions-boxable.csv", "oidv7-class-descriptions-boxable.csv"))
        return SourceFiles((boxes, classes), (), os.path.join(root, split))

    def names(self, split: str) -> list[str]:
        return list(_open_classes(self.source[split].metadata[1]).values())

    def images(self, split: str, part: str) -> Iterator[FoundImage]:
        classes = _open_classes(self.source[split].metadata[1])
        root = self.config.data_dir
        places = ImagePlaces([os.path.join(root, split), os.path.join(root, "images", split)], part)
        for image_id, rows in _grouped(part):
            path = places.address(f"{image_id}.jpg")
            size = header_size(path)
            objects = [_object(part, number, row, classes, size) for number, row in rows]
            yield FoundImage(image_id, path, size, objects)


def _find(root: str, split: str, names: tuple[str, ...]) -> str:
    candidates = [os.path.join(root, folder, name) for name in names for folder in ("", "annotations")]
    found = first_existing(candidates)
    if found is None:
        raise DatasetFileError(f"openimages {split}: looked for {', '.join(candidates)}; check data_dir")
    return found


def _lines(path: str) -> Iterator[list[str]]:
    with open_file(path, KIND, DatasetFileError) as file:
        text = (line.decode("utf-8-sig") for line in iter(lambda: file.readline(1 << 16), b""))
        try:
            yield from csv.reader(text, strict=True)
        except (csv.Error, UnicodeDecodeError) as error:
            raise DatasetFileError(f"{path}: is no table of commas and UTF-8 ({error}): download it again") from None


def _read_classes(path: str) -> dict[str, str]:
    """Names by `/m/...`."""
    classes = {}
    for row in _lines(path):
        if len(row) != 2 or not row[1].strip():
            raise DatasetContentError(f"{path}: the line {','.join(row)!r:.80} is no id and name")
        if row[0] != "LabelName":  # version 7 has a head
            classes[row[0]] = row[1].strip()
    return classes


_open_classes = cached_by_file(_read_classes)


def _grouped(path: str) -> Iterator[tuple[str, list[tuple[int, dict]]]]:
    """Images with the lines of their boxes, which are together in the file."""
    lines = _lines(path)
    head = next(lines, [])
    if missing := [name for name in ("ImageID", "LabelName", *_BOX, "IsGroupOf") if name not in head]:
        raise DatasetContentError(f"{path}: has no column {missing[0]!r}")
    seen, group, current = set(), [], None
    for number, line in enumerate(lines, start=2):
        if len(line) != len(head):
            raise DatasetContentError(f"{path}: line {number} has {len(line)} columns, not {len(head)}")
        row = dict(zip(head, line, strict=True))
        if row["ImageID"] != current:
            if group:
                yield current, group
            group, current = [], row["ImageID"]
            if current in seen:
                raise DatasetFileError(f"{path}: line {number}: image {current} comes twice; sort the file by ImageID")
            seen.add(current)
        group.append((number, row))
    if group:
        yield current, group


_BOX = ("XMin", "XMax", "YMin", "YMax")  # shares of the image
_NUMBER = re.compile(r"[-+]?[0-9]{1,20}(\.[0-9]{0,40})?(e[-+]?[0-9]{1,3})?", re.IGNORECASE)


def _object(path: str, number: int, row: dict, classes: dict[str, str], size: tuple[int, int]) -> FoundObject:
    if row["LabelName"] not in classes:
        raise DatasetContentError(f"{path}: line {number}: {row['LabelName']!r} is no known category")
    if not all(_NUMBER.fullmatch(row[name]) for name in _BOX):
        raise DatasetContentError(f"{path}: line {number}: has no box of four numbers")
    if row["IsGroupOf"] not in ("0", "1", "-1"):  # -1: not known
        raise DatasetContentError(f"{path}: line {number}: its IsGroupOf is {row['IsGroupOf']!r:.80}, not 0 or 1")
    x0, x1, y0, y1 = (float(row[name]) for name in _BOX)
    height, width = size
    box = (x0 * width, y0 * height, x1 * width, y1 * height)
    return FoundObject(f"line {number}", box, name=classes[row["LabelName"]], is_crowd=row["IsGroupOf"] == "1")
