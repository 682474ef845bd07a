"""The one row schema of all datasets of objects: an image, and its boxes, masks, names, descriptions and tracks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import datasets
from pycocotools import mask as coco_mask

from ...errors import DatasetContentError
from ...media.rle import clean_masks
from ...rows import first_repeated
from ..own.coco_video import polygons_to_rle


ANYTHING = "object"  # the name of whatever it is
MAX_SIDE = 1 << 16  # pixels
_STRING, _STRINGS = datasets.Value("string"), datasets.List(datasets.Value("string"))
OBJECT_FEATURES = datasets.Features(
    {
        "dataset": _STRING,
        "image_id": _STRING,
        "image_path": _STRING,
        "height": datasets.Value("int32"),
        "width": datasets.Value("int32"),
        "video_id": _STRING,
        "frame_idx": datasets.Value("int32"),
        "objects": datasets.List(
            {
                "object_id": _STRING,
                "box": datasets.List(datasets.Value("float64")),
                "mask": {"size": datasets.List(datasets.Value("int32")), "counts": _STRING},
                "name": _STRING,
                "descriptions": _STRINGS,
                "track_id": _STRING,
                "area": datasets.Value("float64"),
                "is_crowd": datasets.Value("bool"),
            }
        ),
        "absent_names": _STRINGS,
        "incomplete_names": _STRINGS,
    }
)


@dataclass
class FoundObject:
    """One object as a file has it, before it is checked.

    Attributes:
        object_id: of the annotation, unique in its image.
        box: x0, y0, x1, y1 in pixels.
        segmentation: polygons or run lengths; None where only the box is known.
        name: of its category.
        descriptions: texts about it.
        track_id: of the object in its video.
        area: in pixels, as the file has it; by default that of the box.
        is_crowd: a region of many objects; evaluation neither asks for it nor counts against it.
    """

    object_id: str
    box: Sequence[float]
    segmentation: object = None
    name: str | None = None
    descriptions: Sequence[str] = ()
    track_id: str | None = None
    area: float | None = None
    is_crowd: bool = False


@dataclass
class FoundImage:
    """One image as a file has it. `absent_names` were looked for and are not there; of `incomplete_names` not every
    object is marked. `objects` is None where the split has no ground truth."""

    image_id: str
    image_path: str
    size: tuple[int, int]
    objects: Sequence[FoundObject] | None = ()
    video_id: str | None = None
    frame_idx: int | None = None
    absent_names: Sequence[str] = ()
    incomplete_names: Sequence[str] = field(default=())


def object_row(dataset: str, image: FoundImage, origin: str) -> dict:
    """One row of [`OBJECT_FEATURES`]. Objects whose box has no area are left out.

    Args:
        dataset: name of the dataset.
        image: what its file says.
        origin: the file, for errors.

    Raises:
        DatasetFileError: a size, a box, a polygon or run lengths cannot be, a text is none, or two objects have one
            id; one line with the id.

    Example:
        >>> dog = FoundObject("7", (1, 0, 3, 2), [[1, 0, 3, 0, 3, 2, 1, 2]], "dog")
        >>> row = object_row("coco", FoundImage("1", "/data/1.jpg", (4, 4), [dog]), "instances.json")
        >>> row["objects"][0]["box"], row["objects"][0]["mask"]
        ([1.0, 0.0, 3.0, 2.0], {'size': [4, 4], 'counts': '42204'})
    """
    where = f"{origin}: image {image.image_id}"
    height, width = image.size
    if not all(type(side) is int and 0 < side <= MAX_SIDE for side in image.size):
        raise DatasetContentError(f"{where}: height and width are {height!r} and {width!r}, not pixels")
    return {
        "dataset": dataset,
        "image_id": image.image_id,
        "image_path": image.image_path,
        "height": height,
        "width": width,
        "video_id": image.video_id,
        "frame_idx": image.frame_idx,
        "objects": None if image.objects is None else _objects(where, image.objects, image.size),
        "absent_names": list(image.absent_names),
        "incomplete_names": list(image.incomplete_names),
    }


def _objects(where: str, found: Sequence[FoundObject], size: tuple[int, int]) -> list[dict]:
    names = [f"{where}, object {each.object_id}" for each in found]
    ids = [each.object_id for each in found]
    if len(set(ids)) < len(ids):
        raise DatasetContentError(f"{where}: has two objects with the id {first_repeated(ids)!r}")
    boxes = [_box(name, each.box) for name, each in zip(names, found, strict=True)]
    rles = [_run_lengths(name, each.segmentation, size) for name, each in zip(names, found, strict=True)]
    masks = clean_masks(rles, size, names)
    rows = zip(names, found, boxes, masks, strict=True)
    return [_object(name, each, box, mask) for name, each, box, mask in rows if box[2] > box[0] and box[3] > box[1]]


def _run_lengths(where: str, segmentation, size: tuple[int, int]):
    """Polygons of fewer than three points, which published files have, enclose nothing and are left out."""
    if isinstance(segmentation, list):
        segmentation = [each for each in segmentation if not (isinstance(each, list) and len(each) in (0, 2, 4))]
    return polygons_to_rle(where, segmentation or None, size)


def mask_box(where: str, segmentation, size: tuple[int, int]) -> list[float]:
    """The box of a mask, where a file has none.

    Raises:
        DatasetFileError: the mask cannot be read.

    Example:
        >>> mask_box("object 1", {"size": [2, 3], "counts": [1, 2, 3]}, (2, 3))
        [0.0, 0.0, 2.0, 2.0]
    """
    (rle,) = clean_masks([_run_lengths(where, segmentation, size)], size, [where])
    if rle is None:
        return [0.0, 0.0, 0.0, 0.0]
    x, y, width, height = coco_mask.toBbox({"size": rle["size"], "counts": rle["counts"].encode("ascii")})
    return [float(x), float(y), float(x + width), float(y + height)]


def _object(where: str, found: FoundObject, box: list[float], mask: dict | None) -> dict:
    area = found.area
    if area is None:
        area = (box[2] - box[0]) * (box[3] - box[1])
    if not _is_number(area) or area < 0:
        raise DatasetContentError(f"{where}: its area is {area!r}, no number of pixels")
    return {
        "object_id": found.object_id,
        "box": box,
        "mask": mask,
        "name": found.name,
        "descriptions": [_text(where, text) for text in found.descriptions],
        "track_id": found.track_id,
        "area": float(area),
        "is_crowd": found.is_crowd,
    }


def _box(where: str, box) -> list[float]:
    is_box = isinstance(box, (list, tuple)) and len(box) == 4
    if not is_box or not all(_is_number(value) and abs(value) <= MAX_SIDE for value in box):
        raise DatasetContentError(f"{where}: has no box of four numbers of pixels")
    return [float(value) for value in box]


def _is_number(value) -> bool:
    """Of what a float holds: a whole number of JSON may have thousands of digits."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max  # NaN neither


def _text(where: str, text) -> str:
    if not isinstance(text, str) or not text.strip():
        raise DatasetContentError(f"{where}: the description {text!r:.80} is no text")
    return text.strip()


def plain_name(where: str, name) -> str:
    """A category as a text: `hot_dog` becomes "hot dog".

    Raises:
        DatasetFileError: it is no text.

    Example:
        >>> plain_name("instances.json: category 1", "hot_dog")
        'hot dog'
    """
    if not isinstance(name, str) or not name.replace("_", " ").strip():
        raise DatasetContentError(f"{where}: has no name")
    return name.replace("_", " ").strip()


__all__ = ["ANYTHING", "OBJECT_FEATURES", "FoundImage", "FoundObject", "mask_box", "object_row", "plain_name"]
