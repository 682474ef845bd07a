"""GRIT, as img2dataset downloads it. Layout and options: docs/object-datasets.md."""

from __future__ import annotations

import os

from glus_hf.data.dataset_files import SourceFiles, header_size
from glus_hf.data.objects.object_schema import FoundImage, FoundObject
from glus_hf.data.objects.shard_builder import ShardBuilder
from glus_hf.data.objects.shards import Shard, find_shards
from glus_hf.errors import DatasetContentError


class GRIT(ShardBuilder):
    """GRIT: boxes of phrases and of whole referring expressions in the captions of images of the web."""

    FOLDERS = ("GRIT", "grit")
    LICENSE = "MS-PL for the annotations; images under their own terms"

    def source_files(self, root: str, split: str) -> SourceFiles:
        self.check_options()
        return find_shards([root, os.path.join(root, "images")], "grit train")

    def image(self, shard: Shard, key: str, content: dict) -> FoundImage | None:
        if content.get("status", "success") != "success":
            return None  # img2dataset keeps a line of what it could not get
        where = f"{shard.path}: {key}.json"
        path = shard.image(key)
        size = header_size(path)
        found = {kind: _spans(where, content, kind) for kind in ("noun_chunks", "ref_exps")}
        texts: dict[tuple, list[str]] = {}
        for text, box in (each for spans in found.values() for each in spans):
            texts.setdefault(box, []).append(text)
        objects = [
            FoundObject(str(number), _pixels(box, size), descriptions=list(dict.fromkeys(said)))
            for number, (box, said) in enumerate(texts.items())
        ]
        return FoundImage(key.rpartition("/")[2], path, size, objects)


def _spans(where: str, content: dict, kind: str) -> list[tuple[str, tuple]]:
    """Text and box (shares of the image) of every `[start, end, x0, y0, x1, y1, score]`."""
    caption, spans = content.get("caption"), content.get(kind)
    if not isinstance(caption, str) or not isinstance(spans, list):
        raise DatasetContentError(f"{where}: has no 'caption' and {kind!r}")
    return [_span(f"{where}: {kind}", caption, span) for span in spans]


def _span(where: str, caption: str, span) -> tuple[str, tuple]:
    if not isinstance(span, list) or len(span) < 6 or not all(type(value) in (int, float) for value in span):
        raise DatasetContentError(f"{where}: {span!r:.80} is no start, end and box")
    start, end, *box = span[:6]
    if not all(-1 <= value <= 2 for value in box):  # NaN neither
        raise DatasetContentError(f"{where}: the box {box} is no share of the image")
    if not 0 <= start < end <= len(caption):
        raise DatasetContentError(f"{where}: letters {start} to {end} are not in a caption of {len(caption)}")
    return caption[int(start) : int(end)].strip(), tuple(min(max(value, 0.0), 1.0) for value in box)


def _pixels(box: tuple, size: tuple[int, int]) -> list[float]:
    height, width = size
    return [box[0] * width, box[1] * height, box[2] * width, box[3] * height]
