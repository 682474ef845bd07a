"""Objects365 version 2. Layout: docs/object-datasets.md."""

from glus_hf.data.objects.coco_builder import CocoFormatBuilder


class Objects365(CocoFormatBuilder):
    """Objects365: 365 categories with boxes."""

    SPLITS = ("train", "val")
    FOLDERS = ("Objects365v2", "objects365", "Objects365")
    LICENSE = "annotations CC BY 4.0; images under the terms of Flickr"
    FILES = {
        split: tuple(
            f"{folder}zhiyuan_objv2_{split}{suffix}.json"
            for folder in ("annotations/", f"{split}/", "")
            for suffix in ("", "_new")
        )
        for split in SPLITS
    }
    IMAGES = {split: (f"images/{split}", split, f"{split}/images", "images", ".") for split in SPLITS}
