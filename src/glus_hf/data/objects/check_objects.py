"""Check a dataset of objects: count what is there, and list what cannot be used."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from dataclasses import dataclass, field

from transformers.utils import logging

from ...errors import UserError, one_line
from ...media.sizes import check_size
from ..dataset_files import header_size
from .load_objects import load_object_dataset


MAX_PROBLEMS = 100


@dataclass
class ObjectReport:
    """What [`check_object_dataset`] found. `counts`: images, images without objects, videos, objects, masks, crowds,
    descriptions, tracks and names; `errors`: one line each, of which `MAX_PROBLEMS` are kept."""

    counts: Counter = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    num_errors: int = 0

    def to_dict(self) -> dict:
        """As JSON."""
        return {"counts": dict(self.counts), "num_errors": self.num_errors, "errors": self.errors}

    def add(self, error: object) -> None:
        self.num_errors += 1
        if len(self.errors) < MAX_PROBLEMS:
            self.errors.append(one_line(error))


def check_object_dataset(
    name: str, data_dir: str | os.PathLike | None, split: str = "train", max_images: int | None = None, **options
) -> ObjectReport:
    """Read all rows of a split without a cache, and the header of every image: is it there, has it the stated size?
    Problems of images are listed; the first problem of an annotation file ends the reading.

    Args:
        name, data_dir, split, options: as for [`load_object_dataset`].
        max_images: check only the first of them.

    Raises:
        UserError: the dataset is not there at all.

    Example:
        >>> report = check_object_dataset("motion_shapes", None, "test", num_videos=1, num_frames=4, size=32)
        >>> report.counts["images"], report.num_errors
        (4, 0)
    """
    rows = load_object_dataset(name, data_dir, split, streaming=True, **options)
    report, seen = ObjectReport(), {"videos": set(), "tracks": set(), "names": set()}
    try:
        for row in itertools.islice(logging.tqdm(rows, desc="images", unit="image", leave=False), max_images):
            _count(report.counts, row, seen)
            try:
                _check_image(row)
            except (UserError, OSError) as error:
                report.add(error)
    except (UserError, OSError) as error:
        report.add(error)
    report.counts.update({kind: len(found) for kind, found in seen.items()})
    if not report.counts["images"] and not report.errors:
        report.add(f"{name} {split}: has no images; check the download")
    return report


def _check_image(row: dict) -> None:
    if not row["image_path"].startswith("motion_shapes://"):  # drawn, not read
        size, stated = header_size(row["image_path"]), (row["height"], row["width"])
        check_size(row["image_path"], size, stated, of="the annotation file")


def _count(counts: Counter, row: dict, seen: dict[str, set]) -> None:
    objects = row["objects"] or []
    counts["images"] += 1
    counts["images_without_objects"] += not objects
    counts["objects"] += len(objects)
    if row["video_id"] is not None:
        seen["videos"].add(row["video_id"])
    for found in objects:
        counts["masks"] += found["mask"] is not None
        counts["crowds"] += found["is_crowd"]
        counts["descriptions"] += len(found["descriptions"])
        if found["track_id"] is not None:
            seen["tracks"].add((row["video_id"], found["track_id"]))
        if found["name"] is not None:
            seen["names"].add(found["name"])


__all__ = ["ObjectReport", "check_object_dataset"]
