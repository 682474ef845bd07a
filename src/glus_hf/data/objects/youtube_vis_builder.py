"""Builder base of both versions of YouTube-VIS."""

from __future__ import annotations

from .coco_builder import CocoFormatBuilder


class YouTubeVISBuilder(CocoFormatBuilder):
    """Files where the archives have them, or where training programs put them. Only train has masks; `train_sub` and
    `val_sub` are parts of it that some programs divide it into."""

    SPLITS = ("train", "valid", "test", "train_sub", "val_sub")
    ALIASES = {"validation": "valid", "val": "valid"}
    LICENSE = "CC BY 4.0"
    FILES = {
        **{
            split: (f"{split}/instances.json", f"{split}.json", f"annotations/instances_{split}.json")
            for split in ("train", "valid", "test")
        },
        **{
            split: (f"annotations/instances_{split}.json", f"instances_{split}.json")
            for split in ("train_sub", "val_sub")
        },
    }
    IMAGES = {split: (f"{split}/JPEGImages", split) for split in ("train", "valid", "test")}
    IMAGES |= {split: ("train/JPEGImages", "train", "val/JPEGImages", "val") for split in ("train_sub", "val_sub")}


__all__ = ["YouTubeVISBuilder"]
