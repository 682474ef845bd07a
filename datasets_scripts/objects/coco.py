"""COCO 2017. Layout: docs/object-datasets.md."""

from glus_hf.data.objects.coco_builder import CocoFormatBuilder


class COCO(CocoFormatBuilder):
    """COCO 2017: 80 categories with boxes and masks."""

    SPLITS = ("train", "val")
    FOLDERS = ("coco", "COCO")
    LICENSE = "annotations CC BY 4.0; images under the terms of Flickr"
    FILES = {split: (f"annotations/instances_{split}2017.json",) for split in SPLITS}
    IMAGES = {split: (f"{split}2017", f"images/{split}2017") for split in SPLITS}
