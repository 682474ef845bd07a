"""YouTube-VIS and other COCO video annotations, converted into the layout of own data."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np
from pycocotools import mask as coco_mask
from transformers.utils import logging

from ...errors import DatasetContentError, DatasetFileError
from ...media.images import IMAGE_SUFFIXES, natural_order
from ...media.rle import clean_track
from ...media.sizes import check_size
from ...models.expressions import plain_expression
from ...safe_files import GB
from ..dataset_files import check_name, image_size
from ..strict_json import read_json
from .expressions import EXPRESSIONS
from .own_folder import check_frames
from .videos import VIDEOS


MAX_COORDINATE = 1 << 16  # pixels
MAX_OUTLINE = 1 << 22  # pixels: pycocotools takes about 120 bytes and 35 ns for each
MAX_MEMORY = 4 * GB  # that the whole file may take
TEXT_FIELDS = ("expression", "caption")


def convert_coco_video(
    annotations: str | os.PathLike, frames: str | os.PathLike, output: str | os.PathLike, copy: bool = False
) -> dict[str, int]:
    """Convert a JSON file with `videos`, `annotations` and `categories` into own data (docs/own-data.md).

    What an annotation is called is its `expression` or `caption`, a text or a list of texts; without one, "the
    <category>". Annotations of one video with the same text become one expression about several objects, so "the dog"
    means all dogs of the video. Videos without annotations are left out.

    Args:
        annotations: the JSON file. `segmentations` has one entry per frame: run lengths (`counts` a string or a list),
            polygons, or null; an empty list of polygons is no mask.
        frames: folder that `file_names` start from.
        output: folder to make; it appears complete or not at all.
        copy: copy the frames. Otherwise they are symbolic links to where they are now.

    Returns:
        `{"videos", "expressions", "frames", "empty_videos"}`, numbers of each.

    Raises:
        ValueError: the file is malformed, a frame is missing, or `output` is taken. One line with the id.

    Example:

        >>> convert_coco_video("instances.json", "JPEGImages", "own")  # doctest: +SKIP
        {'videos': 2238, 'expressions': 3310, 'frames': 61845, 'empty_videos': 0}
    """
    from ...atomic_write import new_folder

    file, frames, output = Path(annotations), Path(frames), Path(output)
    content = _read(file)
    categories = {item["id"]: item.get("name") for item in content["categories"]}
    by_video = _group_by_video(file, content)
    used = [video for video in content["videos"] if video["id"] in by_video]
    if not used:
        raise DatasetFileError(f"{file}: no video has annotations: check that it is a training or validation file")
    names = _video_names(file, used)
    counts = {"videos": len(used), "expressions": 0, "frames": 0, "empty_videos": len(content["videos"]) - len(used)}
    with new_folder(output) as folder:
        with open(folder / EXPRESSIONS, "w", encoding="utf-8") as lines:
            for video, name in zip(logging.tqdm(used, desc="videos", leave=False), names, strict=True):
                counts["frames"] += _place_frames(video, frames, folder / VIDEOS / name, copy)
                for line in _expressions(file, name, video, by_video[video["id"]], categories):
                    lines.write(json.dumps(line, ensure_ascii=False) + "\n")
                    counts["expressions"] += 1
    return counts


# --- the file --------------------------------------------------------------------------------------------------------


def _read(file: Path) -> dict:
    """The file, in which `videos`, `annotations` and `categories` are lists of objects with ids."""
    content = read_json(file, MAX_MEMORY)
    content = {"categories": [], **content} if isinstance(content, dict) else {}
    for field in ("videos", "annotations", "categories"):
        found = content.get(field)
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            raise DatasetContentError(f"{file}: has no list {field!r}: it is not in the format of YouTube-VIS")
        if field == "annotations":  # their ids are optional
            found = [item for item in found if "id" in item]
        _check_ids(file, field, [item.get("id") for item in found])
    return content


def _group_by_video(file: Path, content: dict) -> dict[int | str, list[dict]]:
    """Annotations by the id of their video."""
    known, groups = {video["id"] for video in content["videos"]}, {}
    for item in content["annotations"]:
        if not isinstance(item.get("video_id"), (int, str)) or item["video_id"] not in known:
            raise DatasetContentError(
                f"{file}: an annotation has the video_id {item.get('video_id')!r}, no such video"
            )
        groups.setdefault(item["video_id"], []).append(item)
    return groups


def _check_ids(file: Path, kind: str, ids: list) -> None:
    seen = set()
    for value in ids:
        if not isinstance(value, (int, str)):
            raise DatasetContentError(f"{file}: the id {value!r} in {kind} is no number")
        if str(value) in seen:  # as a name, 2 is "2"
            raise DatasetContentError(f"{file}: two {kind} have the id {value!r}")
        seen.add(str(value))


def _video_names(file: Path, videos: list[dict]) -> list[str]:
    """The folder of a video's frames if all are in one and no other video has it, else the video's id."""
    folders = []
    for video in videos:
        name = f"{file}: video {video['id']}"
        files = video.get("file_names")
        if not isinstance(files, list) or not files:
            raise DatasetContentError(f"{name}: has no 'file_names'")
        for item in files:
            if PurePosixPath(check_name(item, f"frame of video {video['id']}", str(file))).suffix == "":
                raise DatasetContentError(f"{name}: frame {item!r} has no suffix")
        if not all(isinstance(video.get(side), int) and video[side] > 0 for side in ("height", "width")):
            raise DatasetContentError(f"{name}: has no 'height' and 'width'")
        parents = {str(PurePosixPath(item).parent) for item in files}
        folders.append(parents.pop() if len(parents) == 1 else ".")
    taken = set(folders)
    nested = any(str(parent) in taken for folder in folders for parent in PurePosixPath(folder).parents)
    own_folders = len(taken) == len(folders) and "." not in taken and not nested
    return folders if own_folders else [check_name(str(video["id"]), "video", str(file)) for video in videos]


# --- one video -------------------------------------------------------------------------------------------------------


def _place_frames(video: dict, source: Path, folder: Path, copy: bool) -> int:
    """Link or copy the frames. They keep their names if these sort in the order of the video, else get numbers."""
    folder.mkdir(parents=True)
    files = [source / name for name in video["file_names"]]
    stems = [file.stem for file in files]
    if sorted(files, key=natural_order) != files or len(set(stems)) < len(stems):
        stems = [f"{index:05d}" for index in range(len(files))]
    for file, stem in zip(files, stems, strict=True):
        if not file.is_file():
            raise DatasetFileError(f"{file}: no such frame of video {video['id']}: check the folder of the frames")
        if file.suffix.lower() not in IMAGE_SUFFIXES:
            raise DatasetContentError(f"{file}: frame of video {video['id']} is no {', '.join(IMAGE_SUFFIXES)} image")
        target = folder / (stem + file.suffix)
        if copy:
            shutil.copyfile(file, target)
        else:
            target.symlink_to(file.absolute())
    stated = video["height"], video["width"]
    check_size(files[0], image_size(str(files[0])), stated, of=f"video {video['id']}", error=DatasetFileError)
    check_frames([str(file) for file in files[1:]], stated)
    return len(files)


def _expressions(file: Path, name: str, video: dict, annotations: list[dict], categories: dict) -> Iterable[dict]:
    objects_by_expression: dict[str, list[dict]] = {}
    for position, annotation in enumerate(annotations):
        number = check_name(str(annotation.get("id", f"place {position}")), "annotation", str(file))
        where = f"{file}: annotation {number}"
        found = {"id": number, "masks": _track(where, annotation.get("segmentations"), video)}
        for expression in _expressions_of(where, annotation, categories):
            objects_by_expression.setdefault(expression, []).append(found)
    for expression, objects in objects_by_expression.items():
        yield {"video": name, "expression": expression, "objects": objects}


def _expressions_of(where: str, annotation: dict, categories: dict) -> list[str]:
    given = next((annotation[field] for field in TEXT_FIELDS if annotation.get(field)), None)
    if given is None:
        known = annotation.get("category_id")
        category = categories.get(known) if isinstance(known, (int, str)) else None
        if not isinstance(category, str) or not category.strip():
            raise DatasetContentError(f"{where}: has no 'expression', no 'caption' and no known category")
        given = f"the {category.strip().replace('_', ' ')}"
    expressions = given if isinstance(given, list) else [given]
    for expression in expressions:
        if not isinstance(expression, str) or not plain_expression(expression):
            raise DatasetContentError(f"{where}: the expression {expression!r} is no text")
    return list(dict.fromkeys(expression.strip() for expression in expressions))


def _track(where: str, segmentations, video: dict) -> list[dict | None]:
    size = (video["height"], video["width"])
    if isinstance(segmentations, list):
        segmentations = [polygons_to_rle(f"{where}, frame {i}", item, size) for i, item in enumerate(segmentations)]
    return clean_track(segmentations, len(video["file_names"]), size, where)[0]


def polygons_to_rle(where: str, segmentation, size: tuple[int, int]):
    """Run lengths of a list of polygons; everything else as it is, None for no polygon."""
    if not isinstance(segmentation, list):
        return segmentation
    for polygon in segmentation:
        numbers = isinstance(polygon, list) and all(isinstance(value, (int, float)) for value in polygon)
        if not numbers or len(polygon) < 6 or len(polygon) % 2:
            raise DatasetContentError(f"{where}: a polygon is a list of x and y of 3 or more points")
        if not all(abs(value) <= MAX_COORDINATE for value in polygon):  # NaN neither; pycocotools crashes on them
            raise DatasetContentError(f"{where}: a polygon has points far outside of the video")
    if not segmentation:
        return None
    if sum(map(_outline, segmentation)) > MAX_OUTLINE:
        raise DatasetContentError(f"{where}: the outlines of its polygons are longer than {MAX_OUTLINE} pixels")
    rle = coco_mask.merge(coco_mask.frPyObjects([[float(v) for v in points] for points in segmentation], *size))
    return {"size": list(size), "counts": rle["counts"].decode("ascii")}


def _outline(polygon: list) -> float:
    """An upper bound of the pixels that the outline of a polygon goes through."""
    widest = max(polygon) - min(polygon)
    if len(polygon) * widest <= MAX_OUTLINE // 100:  # as nearly all are: the bound is good enough
        return 0
    points = np.array(polygon, dtype=float).reshape(-1, 2)
    return float(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum())
