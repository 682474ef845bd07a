"""Objects of images out of JSON files in the format of COCO; of YouTube-VIS, whose frames are images of their own."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DatasetContentError, DatasetFileError
from ..media.rle import decode_rle
from ..safe_files import GB
from .dataset_files import check_name
from .own.coco_video import polygons_to_rle
from .strict_json import read_json


MAX_MEMORY = 16 * GB  # that a file may take while it is read
TEXT_FIELDS = ("expressions", "expression", "description", "caption")

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels."""


@dataclass(frozen=True)
class Instance:
    """One object: the place of its category in the list of names, its box, its mask as JSON (None where only the box
    is known) and texts about it."""

    category: int
    box: Box
    segmentation: str | None
    texts: tuple[str, ...]


@dataclass(frozen=True)
class InstanceImage:
    """One image and its objects. `name` is its file below the folder of the images."""

    name: str
    file: str
    height: int
    width: int
    instances: tuple[Instance, ...]


def read_coco_instances(
    annotations: str | os.PathLike | Sequence[str | os.PathLike], images: str | os.PathLike
) -> tuple[list[str], list[InstanceImage]]:
    """Read the objects of all images; crowds (`iscrowd`) and boxes without an area are left out.

    Masks stay text until [`instance_mask`] makes them. Texts of an object are its `expressions`, `expression`,
    `description` or `caption`, else those of its image.

    Args:
        annotations: a JSON file with `images` (or `videos`), `annotations` and `categories`, or several whose
            categories do not contradict each other.
        images: folder that `file_name` starts from.

    Returns:
        The names of the categories, in the order of the file, and the images that have objects.

    Raises:
        DatasetFileError: a file is malformed; one line with the id.

    Example:
        >>> names, found = read_coco_instances("instances_val2017.json", "val2017")  # doctest: +SKIP
        >>> names[:3], len(found)  # doctest: +SKIP
        (['person', 'bicycle', 'car'], 4952)
    """
    files = [annotations] if isinstance(annotations, (str, os.PathLike)) else list(annotations)
    names: dict = {}
    found = []
    for file in map(Path, files):
        content = _read(file)
        for category in content["categories"]:
            if names.setdefault(category["id"], category["name"]) != category["name"]:
                raise DatasetContentError(f"{file}: category {category['id']} has another name than in another file")
        found += _images_of(file, content, list(names), Path(images))
    if not found:
        raise DatasetFileError(f"{files[0]}: no image has objects: check that it is a training or validation file")
    return list(names.values()), found


def instance_mask(instance: Instance, size: tuple[int, int]) -> np.ndarray:
    """The mask `[height, width]` of bool of an object.

    Raises:
        DatasetFileError: it has none, or it cannot be read.
    """
    if instance.segmentation is None:
        raise DatasetFileError("an object has a box alone; leave its mask out")
    rle = polygons_to_rle("a segmentation", json.loads(instance.segmentation), size)
    return decode_rle(rle, size)


# --- the file --------------------------------------------------------------------------------------------------------


def _read(file: Path) -> dict:
    content = read_json(file, MAX_MEMORY)
    kind = "videos" if isinstance(content, dict) and "videos" in content else "images"
    for field in (kind, "annotations", "categories"):
        rows = content.get(field) if isinstance(content, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise DatasetContentError(f"{file}: has no list {field!r}: it is not in the format of COCO")
        keys = [row.get("id") for row in rows] if field != "annotations" else []
        if not all(isinstance(key, (int, str)) for key in keys) or len(set(keys)) < len(keys):
            raise DatasetContentError(f"{file}: ids of {field} are missing or there twice")
    for category in content["categories"]:
        if not isinstance(category.get("name"), str) or not category["name"].strip():
            raise DatasetContentError(f"{file}: category {category['id']} has no name")
    return content


def _images_of(file: Path, content: dict, category_ids: list, folder: Path) -> Iterator[InstanceImage]:
    place = {key: index for index, key in enumerate(category_ids)}
    rows = _frames_of_videos(file, content) if "videos" in content else _rows_of_images(file, content)
    for image, found in rows:
        name = check_name(_file_name(image), "image", str(file))
        size = image.get("height"), image.get("width")
        if not all(isinstance(side, int) and side > 0 for side in size):
            raise DatasetContentError(f"{file}: image {name} has no 'height' and 'width'")
        instances = [_instance(file, annotation, image, place) for annotation in found]
        instances = tuple(instance for instance in instances if instance is not None)
        if instances:
            yield InstanceImage(name, str(folder / name), *size, instances)


def _rows_of_images(file: Path, content: dict) -> Iterator[tuple[dict, list[dict]]]:
    grouped = _by(file, content, "image_id", {image["id"] for image in content["images"]})
    return ((image, grouped.get(image["id"], [])) for image in content["images"])


def _frames_of_videos(file: Path, content: dict) -> Iterator[tuple[dict, list[dict]]]:
    """Every frame of every video as an image with the objects that it shows."""
    grouped = _by(file, content, "video_id", {video["id"] for video in content["videos"]})
    for video in content["videos"]:
        tracks = grouped.get(video["id"], [])
        names = video.get("file_names") or []
        if not isinstance(names, list):
            raise DatasetContentError(f"{file}: video {video['id']} has no list 'file_names'")
        for frame, name in enumerate(names):
            shown = [_at_frame(file, track, frame) for track in tracks]
            yield {**video, "file_name": name}, [each for each in shown if each["bbox"] is not None]


def _at_frame(file: Path, track: dict, frame: int) -> dict:
    columns = [track.get(name) for name in ("bboxes", "segmentations")]
    are_lists = isinstance(columns[0], list) and isinstance(columns[1], list | None)
    if not are_lists or not all(column is None or frame < len(column) for column in columns):
        raise DatasetContentError(f"{file}: annotation {track.get('id')} has no bbox for every frame")
    return {**track, "bbox": columns[0][frame], "segmentation": columns[1] and columns[1][frame]}


def _by(file: Path, content: dict, field: str, known: set) -> dict:
    groups: dict = {}
    for row in content["annotations"]:
        if not isinstance(row.get(field), (int, str)) or row[field] not in known:
            raise DatasetContentError(f"{file}: an annotation has the {field} {row.get(field)!r}, which is not there")
        groups.setdefault(row[field], []).append(row)
    return groups


def _file_name(image: dict):
    """LVIS names the address alone: `.../train2017/000000391895.jpg`."""
    if image.get("file_name") is None and isinstance(image.get("coco_url"), str):
        return "/".join(image["coco_url"].split("/")[-2:])
    return image.get("file_name")


# --- one object ------------------------------------------------------------------------------------------------------


def _instance(file: Path, annotation: dict, image: dict, place: dict) -> Instance | None:
    """An object; None of a crowd and of a box without an area."""
    where = f"{file}: annotation {annotation.get('id')}"
    if annotation.get("iscrowd"):
        return None
    category = annotation.get("category_id")
    if not isinstance(category, (int, str)) or category not in place:
        raise DatasetContentError(f"{where}: has the category_id {category!r}, which is not there")
    box = _box(where, annotation.get("bbox"))
    segmentation = annotation.get("segmentation") or None
    if box is None:
        return None
    text = None if segmentation is None else json.dumps(segmentation, separators=(",", ":"))
    return Instance(place[category], box, text, _texts(where, annotation) or _texts(where, image))


def _box(where: str, bbox) -> Box | None:
    is_box = isinstance(bbox, list) and len(bbox) == 4
    if not is_box or not all(isinstance(value, (int, float)) and math.isfinite(value) for value in bbox):
        raise DatasetContentError(f"{where}: has no bbox of four numbers")
    x, y, width, height = map(float, bbox)
    return (x, y, x + width, y + height) if width > 0 and height > 0 else None


def _texts(where: str, row: dict) -> tuple[str, ...]:
    given = next((row[field] for field in TEXT_FIELDS if row.get(field)), ())
    texts = (given,) if isinstance(given, str) else given
    if not isinstance(texts, Iterable) or not all(isinstance(text, str) and text.strip() for text in texts):
        raise DatasetContentError(f"{where}: {given!r:.80} is no text")
    return tuple(texts)


__all__ = ["Instance", "InstanceImage", "instance_mask", "read_coco_instances"]
