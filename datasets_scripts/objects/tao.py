"""TAO. Layout: docs/object-datasets.md."""

from glus_hf.data.objects.coco_builder import CocoFormatBuilder


class TAO(CocoFormatBuilder):
    """TAO: 833 categories, tracked boxes in one frame of a second; per video, names that are absent or incomplete."""

    SPLITS = ("train", "validation", "test")
    ALIASES = {"val": "validation", "valid": "validation"}
    FOLDERS = ("tao", "TAO")
    LICENSE = "annotations CC BY-NC-SA 3.0; videos under their own terms"
    FILES = {
        "train": ("annotations/train.json", "train.json"),
        "validation": ("annotations/validation.json", "validation.json"),
        "test": ("annotations/test.json", "annotations/test_without_annotations.json", "test.json"),
    }
    IMAGES = {split: ("frames", ".") for split in SPLITS}
