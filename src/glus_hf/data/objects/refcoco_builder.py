"""Builder base of RefCOCO, RefCOCO+ and RefCOCOg, whose images are those of COCO's train2014."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ...errors import DatasetContentError, DatasetFileError
from ...safe_files import Stamp, file_stamp
from ..dataset_files import SourceFiles, require_files
from ..restricted_pickle import load_plain_pickle
from .coco_file import coco_images, open_coco_file
from .object_builder import ObjectDatasetBuilder, ObjectDatasetConfig
from .object_schema import FoundImage, FoundObject


MAX_OPCODES = 40_000_000  # of RefCOCOg's expressions
IMAGES = ("train2014", "images/train2014", "images/mscoco/images/train2014")


@dataclass
class RefCOCOConfig(ObjectDatasetConfig):
    """`partition`: who divided the data, as in the name of the file: `refs(unc).p`."""

    partition: str | None = None


class RefCOCOBuilder(ObjectDatasetBuilder):
    """A subclass sets `PARTITIONS`, the splits of each partition; the first is that which is read by default."""

    BUILDER_CONFIG_CLASS = RefCOCOConfig
    PARTITIONS: dict[str, tuple[str, ...]] = {}
    LICENSE = "annotations Apache-2.0; images under the terms of Flickr"

    @property
    def partition(self) -> str:
        return self.config.partition or next(iter(self.PARTITIONS))

    def splits(self, root: str) -> tuple[str, ...]:
        return self.PARTITIONS[self.partition]

    def source_files(self, root: str, split: str) -> SourceFiles:
        name = self.own_name()
        if self.partition not in self.PARTITIONS:
            raise DatasetFileError(f"{name}: unknown partition {self.partition!r}: use {', '.join(self.PARTITIONS)}")
        if split not in self.PARTITIONS[self.partition]:
            known = ", ".join(self.PARTITIONS[self.partition])
            raise DatasetFileError(f"{name}: partition {self.partition} has no split {split!r}: use {known}")
        files = [os.path.join(root, each) for each in ("instances.json", f"refs({self.partition}).p")]
        require_files(files, f"{name} {split}")
        return SourceFiles(tuple(files))

    def names(self, split: str) -> list[str]:
        return open_coco_file(self.source[split].metadata[0]).names

    def images(self, split: str, part: str) -> Iterator[FoundImage]:
        """The images of the split, with the objects that are referred to."""
        references = self.source[split].metadata[1]
        texts = _read_references(references, file_stamp(references, "pickle", DatasetFileError), split)
        root = self.config.data_dir
        parents = [root, os.path.join(root, ".."), os.path.join(root, "..", "coco"), os.path.join(root, "coco")]
        folders = [os.path.normpath(os.path.join(parent, images)) for parent in parents for images in IMAGES]
        known: set[str] = set()
        for image in coco_images(part, folders, wanted={image_id for image_id, _ in texts}):
            found = [(each, texts.get((image.image_id, each.object_id))) for each in image.objects or ()]
            image.objects = [_described(each, said) for each, said in found if said]
            known.update(each.object_id for each in image.objects)
            yield image
        if missing := sorted({object_id for _, object_id in texts} - known):
            raise DatasetContentError(
                f"{part}: annotation {missing[0]}, which has expressions, is not there in its image"
            )


def _described(found: FoundObject, texts: list[str]) -> FoundObject:
    found.descriptions = texts
    return found


@functools.lru_cache(maxsize=4)
def _read_references(path: str, stamp: Stamp, split: str) -> dict[tuple[str, str], list[str]]:
    """Expressions of a split by image and annotation."""
    references = load_plain_pickle(path, MAX_OPCODES)
    if not isinstance(references, list) or not all(isinstance(each, dict) for each in references):
        raise DatasetContentError(f"{path}: is no list of references")
    texts: dict[tuple[str, str], list[str]] = {}
    for reference in references:
        where = f"{path}: reference {reference.get('ref_id')!r:.80}"
        if not isinstance(reference.get("split"), str):
            raise DatasetContentError(f"{where}: has no 'split'")
        if reference["split"] == split:
            key = tuple(_id(where, reference, field) for field in ("image_id", "ann_id"))
            texts.setdefault(key, []).extend(_sentences(where, reference.get("sentences")))
    return texts


def _id(where: str, reference: dict, field: str) -> str:
    if type(reference.get(field)) is not int:
        raise DatasetContentError(f"{where}: has no {field!r}")
    return str(reference[field])


def _sentences(where: str, sentences) -> list[str]:
    is_list = isinstance(sentences, list) and all(isinstance(each, dict) for each in sentences)
    if not is_list or not all(isinstance(each.get("sent"), str) and each["sent"].strip() for each in sentences):
        raise DatasetContentError(f"{where}: has no 'sentences' with texts")
    texts = [each["sent"] for each in sentences]
    if re.search("[\ud800-\udfff]", "".join(texts)):
        raise DatasetContentError(f"{where}: a text of its 'sentences' holds half a character")
    return texts


__all__ = ["RefCOCOBuilder", "RefCOCOConfig"]
