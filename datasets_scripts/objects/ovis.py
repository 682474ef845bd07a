"""OVIS. Layout: docs/object-datasets.md."""

from glus_hf.data.objects.coco_builder import CocoFormatBuilder


class OVIS(CocoFormatBuilder):
    """OVIS: 25 categories, videos of objects that occlude each other, with tracked masks. Only train has masks."""

    SPLITS = ("train", "valid", "test")
    ALIASES = {"validation": "valid", "val": "valid"}
    FOLDERS = ("ovis", "OVIS")
    LICENSE = "CC BY-NC-SA 4.0"
    FILES = {split: (f"annotations_{split}.json", f"annotations/annotations_{split}.json") for split in SPLITS}
    IMAGES = {split: (split, f"Images/{split}", f"images/{split}") for split in SPLITS}
    IMAGES["valid"] += ("val",)
