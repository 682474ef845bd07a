"""Objects out of JSON files in the format of COCO, of YouTube-VIS, whose frames are images of their own, and of TAO,
whose frames are images that name their video.

The rows of a file are read one by one, so files of any length cost little memory.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence

import numpy as np

from ...errors import DatasetContentError, DatasetFileError
from ..json_rows import JsonRows, cached_by_file
from .image_places import ImagePlaces
from .object_schema import ANYTHING, FoundImage, FoundObject, plain_name


TEXT_FIELDS = ("expressions", "expression", "description", "caption")


class CocoFile:
    """Images, or videos, with their annotations, in the order of the file.

    Args:
        path: JSON with the lists `images` or `videos` (TAO: both), `categories` and `annotations`; the last may be
            left out or empty, where a split has no ground truth.

    Raises:
        DatasetFileError: a list is missing, an id is missing or there twice, an annotation belongs to nothing, or a
            category has no name; one line with the id.

    Example:
        >>> CocoFile("instances_val2017.json").names[:3]  # doctest: +SKIP
        ['person', 'bicycle', 'car']
    """

    def __init__(self, path: str):
        self.path = path
        self._numbers: dict[int | str, int] = {}  # of the images' ids
        self._videos: dict[int | str, int] = {}  # places of the videos by their ids
        self._categories: dict[int | str, str] = {}
        self._joined: dict[int | str, str] = {}  # TAO's categories that count as another one
        self.frequencies: dict[str, str] = {}  # of LVIS's names: rare, common or frequent, by their first letters
        self._rows = JsonRows(path, self._group)
        lists = ("images", "videos")  # an empty one says nothing beside the other
        filled = [name for name in lists if len(self._rows[name]) > 0]
        self.kind = next(iter(filled or [name for name in lists if name in self._rows]), "images")
        self.has_frames = len(filled) == 2  # as TAO
        for name in (self.kind, "categories"):
            if name not in self._rows:
                raise DatasetContentError(f"{path}: has no list {name!r}: it is not in the format of COCO")
        if "annotations" in self._rows.no_rows:
            raise DatasetContentError(f"{path}: 'annotations' is no list of objects")
        self.has_ground_truth = len(self._rows["annotations"]) > 0
        for number in range(len(self._rows["categories"])):
            self._add_category(self._rows.read("categories", number))
        self._sort_annotations()

    def _group(self, name: str, row: dict) -> int:
        """The number of the image that an image is, or an annotation is of."""
        if name in ("images", "videos"):
            key = row.get("id")
        elif name == "annotations":
            key = row.get("image_id", row.get("video_id"))
        else:
            return -1
        if type(key) not in (int, str):
            raise DatasetContentError(f"{self.path}: {key!r:.80} is no id of one of the {name}")
        if name == "videos":
            self._videos[key] = len(self._videos)
        return self._numbers.setdefault(key, len(self._numbers))

    def _add_category(self, category: dict) -> None:
        key = category.get("id")
        if type(key) not in (int, str) or key in self._categories:
            raise DatasetContentError(f"{self.path}: the id {key!r:.80} of a category is missing or there twice")
        name = self._categories[key] = plain_name(f"{self.path}: category {key}", category.get("name"))
        if isinstance(category.get("frequency"), str):
            self.frequencies[name] = category["frequency"]
        for other in self._merged(name, category) if self.has_frames else ():
            self._joined[other] = name

    def _merged(self, name: str, category: dict) -> list:
        """The ids that TAO counts as a category, too."""
        others = [] if category.get("merged") is None else category["merged"]
        if not isinstance(others, list) or not all(
            isinstance(each, dict) and type(each.get("id")) in (int, str) for each in others
        ):
            raise DatasetContentError(f"{self.path}: category {name!r:.80}: 'merged' is no list of categories")
        return [each["id"] for each in others]

    def _sort_annotations(self) -> None:
        images = np.frombuffer(self._rows[self.kind].groups, np.int64)
        owners = np.frombuffer(self._rows["annotations"].groups, np.int64) if self.has_ground_truth else images[:0]
        if len(np.unique(images)) < len(images):
            raise DatasetContentError(f"{self.path}: two {self.kind} have one id")
        unknown = np.setdiff1d(owners, images)
        if len(unknown):
            key = list(self._numbers)[unknown[0]]
            raise DatasetContentError(
                f"{self.path}: an annotation is of {self.kind[:-1]} {key!r:.80}, which is not there"
            )
        self._order = np.argsort(owners, kind="stable")
        self._starts = np.searchsorted(owners[self._order], images)
        self._stops = np.searchsorted(owners[self._order], images, side="right")

    @property
    def names(self) -> list[str]:
        """Of the categories, in the order of the file."""
        return [name for key, name in self._categories.items() if key not in self._joined]

    def __len__(self) -> int:
        return len(self._rows[self.kind])

    def rows(self, wanted: Container[str] | None = None) -> Iterator[tuple[dict, list[dict] | None]]:
        """Every image or video, or those with the `wanted` ids, and its annotations; None where the file has none at
        all."""
        keys = list(self._numbers)
        groups = self._rows[self.kind].groups
        for number in range(len(self)):
            if wanted is not None and str(keys[groups[number]]) not in wanted:
                continue
            found = self._order[self._starts[number] : self._stops[number]]
            annotations = [self._rows.read("annotations", int(index)) for index in found]
            yield self._rows.read(self.kind, number), annotations if self.has_ground_truth else None

    def category(self, where: str, annotation: dict) -> str:
        """The name of an annotation's category."""
        key = annotation.get("category_id")
        if type(key) not in (int, str) or key not in self._categories:
            raise DatasetContentError(f"{where}: has the category_id {key!r:.80}, which is not there")
        return self._joined.get(key, self._categories[key])

    def video(self, where: str, image: dict) -> dict:
        """The video of a frame; nothing of an image."""
        if not self.has_frames:
            return {}
        key = image.get("video_id")
        if type(key) not in (int, str) or key not in self._videos:
            raise DatasetContentError(f"{where}: is of video {key!r:.80}, which is not there")
        return self._rows.read("videos", self._videos[key])

    def category_names(self, where: str, keys) -> list[str]:
        """The names of a list of categories; none of None."""
        keys = [] if keys is None else keys
        if not isinstance(keys, list):
            raise DatasetContentError(f"{where}: {keys!r:.80} is no list of categories")
        return [self.category(where, {"category_id": key}) for key in keys]


open_coco_file: Callable[[str], CocoFile] = cached_by_file(CocoFile)
"""[`CocoFile`], kept for the next call while the file stays the same."""


def coco_images(
    path: str, folders: Sequence[str], agnostic: bool = False, wanted: Container[str] | None = None
) -> Iterator[FoundImage]:
    """The images of a file in the format of COCO, or the frames of one in that of YouTube-VIS.

    Args:
        path: the file.
        folders: where `file_name` or `file_names` may start, see [`ImagePlaces`].
        agnostic: call every object "object".
        wanted: ids of the images or videos to read; all by default.

    Raises:
        DatasetFileError: an image or an annotation is malformed; one line with the id.

    Example:
        >>> next(coco_images("instances_val2017.json", ["val2017"])).objects[0].name  # doctest: +SKIP
        'potted plant'
    """
    file, places = open_coco_file(path), ImagePlaces(folders, path)
    read = _frames if file.kind == "videos" else _image
    for row, found in file.rows(wanted):
        yield from read(file, places, row, found, agnostic)


def _image(file: CocoFile, places: ImagePlaces, row: dict, annotations: list | None, agnostic: bool):
    """TAO's names that are absent or incomplete are those of the video; its outlines, if any, are those of boxes."""
    where = f"{file.path}: image {row['id']}"
    described = [_with_texts_of(row, each) for each in annotations or []]
    mask_of = lambda each: None if file.has_frames else each.get("segmentation")
    objects = [_object(file, each, each.get("bbox"), mask_of(each), agnostic) for each in described]
    video = file.video(where, row)
    yield FoundImage(
        image_id=str(row["id"]),
        image_path=places.address(_file_name(row)),
        size=(row.get("height"), row.get("width")),
        objects=None if annotations is None else objects,
        absent_names=file.category_names(where, {**video, **row}.get("neg_category_ids")),
        incomplete_names=file.category_names(where, {**video, **row}.get("not_exhaustive_category_ids")),
        **(_place(where, row) if video else {}),
    )


def _place(where: str, row: dict) -> dict:
    """Where a frame is in its video."""
    if type(row.get("frame_index")) is not int or not 0 <= row["frame_index"] < 1 << 31:
        raise DatasetContentError(f"{where}: its 'frame_index' is {row.get('frame_index')!r:.80}, no number")
    return {"video_id": str(row["video_id"]), "frame_idx": row["frame_index"]}


def _frames(file: CocoFile, places: ImagePlaces, row: dict, annotations: list | None, agnostic: bool):
    """Every frame of a video with the objects that it shows."""
    names, video_id = row.get("file_names"), str(row["id"])
    if not isinstance(names, list):
        raise DatasetContentError(f"{file.path}: video {video_id} has no list 'file_names'")
    tracks = [_track(file, each, len(names)) for each in annotations or []]
    for frame_idx, name in enumerate(names):
        shown = [(each, box[frame_idx], mask[frame_idx], area[frame_idx]) for each, box, mask, area in tracks]
        objects = [
            _object(file, {**each, "area": area}, box, mask, agnostic) for each, box, mask, area in shown if box
        ]
        yield FoundImage(
            image_id=f"{video_id}/{frame_idx}",
            image_path=places.address(name),
            size=(row.get("height"), row.get("width")),
            objects=None if annotations is None else objects,
            video_id=video_id,
            frame_idx=frame_idx,
        )


def _track(file: CocoFile, track: dict, num_frames: int) -> tuple[dict, list, list, list]:
    """An annotation, and per frame its box, its mask and its area."""
    columns = []
    for name in ("bboxes", "segmentations", "areas"):
        column = track.get(name)
        if column is None and name != "bboxes":
            column = [None] * num_frames
        if not isinstance(column, list) or len(column) != num_frames:
            where = f"{file.path}: annotation {track.get('id')}"
            raise DatasetContentError(f"{where}: has no {name!r} of {num_frames} frames, as its video has")
        columns.append(column)
    return {**track, "track_id": track.get("track_id", track.get("id"))}, *columns


def _object(file: CocoFile, annotation: dict, box, segmentation, agnostic: bool) -> FoundObject:
    where = f"{file.path}: annotation {annotation.get('id')}"
    key, track_id = annotation.get("id"), annotation.get("track_id", annotation.get("instance_id"))
    if type(key) not in (int, str):
        raise DatasetContentError(f"{where}: has no id")
    return FoundObject(
        object_id=str(key),
        box=corners(box),
        segmentation=segmentation,
        name=ANYTHING if agnostic else file.category(where, annotation),
        descriptions=_descriptions(where, annotation),
        track_id=None if track_id is None else str(track_id),
        area=annotation.get("area"),
        is_crowd=_is_crowd(where, annotation.get("iscrowd")),
    )


def _is_crowd(where: str, value) -> bool:
    if value not in (None, 0, 1):
        raise DatasetContentError(f"{where}: its 'iscrowd' is {value!r:.80}, not 0 or 1")
    return bool(value)


def corners(box):
    """x0, y0, x1, y1 of x, y, width, height; anything else as it is, to be refused by [`object_row`].

    Example:
        >>> corners([1, 2, 10, 20])
        [1, 2, 11, 22]
    """
    is_box = isinstance(box, (list, tuple)) and len(box) == 4 and all(type(value) in (int, float) for value in box)
    return [box[0], box[1], box[0] + box[2], box[1] + box[3]] if is_box else box


def _with_texts_of(image: dict, annotation: dict) -> dict:
    """An annotation without a text has those of its image."""
    if any(annotation.get(field) for field in TEXT_FIELDS):
        return annotation
    return {**annotation, **{field: image[field] for field in TEXT_FIELDS if image.get(field)}}


def _descriptions(where: str, row: dict) -> Sequence[str]:
    """GLEE's and others' fields of texts, the first that is there: one text or several."""
    given = next((row[field] for field in TEXT_FIELDS if row.get(field)), [])
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list):
        raise DatasetContentError(f"{where}: {given!r:.80} is no text")
    return texts


def _file_name(row: dict):
    """LVIS names the address alone: `.../train2017/000000391895.jpg`."""
    if row.get("file_name") is None and isinstance(row.get("coco_url"), str):
        return "/".join(row["coco_url"].split("/")[-2:])
    return row.get("file_name")


def require_list(path: str, rows: JsonRows, name: str) -> None:
    """Refuse a file without a list."""
    if name not in rows:
        what = f"the list {name!r}" if name else "a list of objects"
        raise DatasetFileError(f"{path}: has not {what}: pass the file of the dataset")


__all__ = ["CocoFile", "coco_images", "corners", "open_coco_file", "require_list"]
