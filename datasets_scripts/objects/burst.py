"""BURST. Layout: docs/object-datasets.md."""

from __future__ import annotations

import os
from collections.abc import Iterator

from glus_hf.data.dataset_files import SourceFiles, first_existing
from glus_hf.data.json_rows import JsonRows, cached_by_file
from glus_hf.data.objects.coco_file import require_list
from glus_hf.data.objects.image_places import ImagePlaces
from glus_hf.data.objects.object_builder import ObjectDatasetBuilder
from glus_hf.data.objects.object_schema import MAX_SIDE, FoundImage, FoundObject, mask_box, plain_name
from glus_hf.errors import DatasetContentError, DatasetFileError


FILES = ("annotations/{split}/all_classes.json", "{split}/all_classes.json")
FILES += tuple(name.replace("all_classes", "{split}") for name in FILES)
IMAGES = ("images", "frames", ".")


class BURST(ObjectDatasetBuilder):
    """BURST: 482 categories, the videos of TAO with tracked masks; per video, names that are absent or incomplete."""

    SPLITS = ("train", "val", "test")
    FOLDERS = ("burst", "BURST")
    LICENSE = "annotations CC BY-NC-SA 3.0; videos under their own terms"

    def source_files(self, root: str, split: str) -> SourceFiles:
        candidates = [os.path.join(root, name.format(split=split)) for name in FILES]
        found = first_existing(candidates)
        if found is None:
            raise DatasetFileError(f"burst {split}: looked for {', '.join(candidates)}; check data_dir")
        return SourceFiles((found,), (), os.path.join(root, IMAGES[0]))

    def names(self, split: str) -> list[str]:
        return list(_categories(_open(self.source[split].metadata[0])).values())

    def images(self, split: str, part: str) -> Iterator[FoundImage]:
        rows = _open(part)
        require_list(part, rows, "sequences")
        categories = _categories(rows)
        places = ImagePlaces([os.path.join(self.config.data_dir, folder) for folder in IMAGES], part)
        for index in range(len(rows["sequences"])):
            video = _Video(part, rows.read("sequences", index), categories)
            for frame_idx in range(len(video.frames)):
                yield video.image(split, frame_idx, places)


_open = cached_by_file(JsonRows)


def _categories(rows: JsonRows) -> dict[int, str]:
    """Names by id, in the order of the file."""
    require_list(rows.path, rows, "categories")
    found = {}
    for index in range(len(rows["categories"])):
        row = rows.read("categories", index)
        if type(row.get("id")) is not int or row["id"] in found:
            raise DatasetContentError(
                f"{rows.path}: the id {row.get('id')!r:.80} of a category is missing or there twice"
            )
        found[row["id"]] = plain_name(f"{rows.path}: category {row['id']}", row.get("name"))
    return found


class _Video:
    """A sequence: its frames that are annotated, and by frame the masks of its tracks."""

    def __init__(self, path: str, row: dict, categories: dict[int, str]):
        self.row, self.categories = row, categories
        self.video_id = "/".join(self._text(path, name) for name in ("dataset", "seq_name"))
        self.where = f"{path}: video {self.video_id}"
        self.frames, self.masks = self._list("annotated_image_paths"), row.get("segmentations")
        if self.masks is not None and len(self._list("segmentations")) != len(self.frames):
            raise DatasetContentError(f"{self.where}: has no 'segmentations' of {len(self.frames)} frames")
        self.names = {} if row.get("track_category_ids") is None else row["track_category_ids"]
        if not isinstance(self.names, dict):
            raise DatasetContentError(f"{self.where}: 'track_category_ids' are no categories by track")

    def _text(self, path: str, name: str) -> str:
        if not isinstance(self.row.get(name), str) or not self.row[name]:
            raise DatasetContentError(f"{path}: a sequence has no {name!r}")
        return self.row[name]

    def _list(self, name: str) -> list:
        if not isinstance(self.row.get(name), list):
            raise DatasetContentError(f"{self.where}: has no list {name!r}")
        return self.row[name]

    def image(self, split: str, frame_idx: int, places: ImagePlaces) -> FoundImage:
        name, size = self.frames[frame_idx], (self.row.get("height"), self.row.get("width"))
        path = f"{split}/{self.video_id}/{name}" if isinstance(name, str) else name
        return FoundImage(
            image_id=f"{self.video_id}/{frame_idx}",
            image_path=places.address(path),
            size=size,
            objects=None if self.masks is None else self._objects(frame_idx, size),
            video_id=self.video_id,
            frame_idx=frame_idx,
            absent_names=self._category_list("neg_category_ids"),
            incomplete_names=self._category_list("not_exhaustive_category_ids"),
        )

    def _category_list(self, name: str) -> list[str]:
        keys = [] if self.row.get(name) is None else self.row[name]
        if not isinstance(keys, list):
            raise DatasetContentError(f"{self.where}: {name!r} is no list of categories")
        return [self._category(key) for key in keys]

    def _objects(self, frame_idx: int, size: tuple) -> list[FoundObject]:
        tracks, where = self.masks[frame_idx], f"{self.where}, frame {frame_idx}"
        if not isinstance(tracks, dict):
            raise DatasetContentError(f"{where}: has no masks by track")
        return [self._object(f"{where}, object {track}", track, found, size) for track, found in tracks.items()]

    def _object(self, where: str, track: str, found, size: tuple) -> FoundObject:
        counts = found.get("rle") if isinstance(found, dict) else None
        if not isinstance(counts, str):
            raise DatasetContentError(f"{where}: has no run lengths 'rle'")
        if not all(type(side) is int and 0 < side <= MAX_SIDE for side in size):
            return FoundObject(track, None)  # the size of the image is refused
        mask = {"size": list(size), "counts": counts}
        name = self._category(self.names.get(track))
        return FoundObject(track, mask_box(where, mask, size), mask, name, track_id=track)

    def _category(self, key) -> str:
        if type(key) is not int or key not in self.categories:
            raise DatasetContentError(f"{self.where}: the category {key!r:.80} is not there")
        return self.categories[key]
