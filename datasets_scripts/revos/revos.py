"""ReVOS. Layout and options: docs/datasets.md."""

from __future__ import annotations

import os.path

from glus_hf.data.dataset_files import SourceFiles, find_frames, first_existing, require_files
from glus_hf.data.dataset_schema import VideoEntry
from glus_hf.data.mevis_builder import MeViSLayoutBuilder
from glus_hf.data.strict_json import cached_json_object
from glus_hf.errors import DatasetContentError, DatasetFileError
from glus_hf.media.rle import Track, clean_track


TYPES = ("referring", "reasoning", "nonexistent")  # by type_id


class ReVOS(MeViSLayoutBuilder):
    """ReVOS: reasoning video object segmentation."""

    SPLITS = ("train", "train_sub", "valid")
    FOLDERS = ("ReVOS", "revos")
    LICENSE = "CC BY-NC-SA 4.0"

    def source_files(self, root: str, split: str) -> SourceFiles:
        what = f"revos {split}"
        names = [os.path.join(root, f"meta_expressions_{split}{end}.json") for end in ("_", "")]
        expressions = first_existing(names)
        if expressions is None:
            raise DatasetFileError(f"{what}: no expressions: looked for {', '.join(names)}; check data_dir")
        masks = os.path.join(root, "mask_dict.json")
        require_files([masks], what)
        foreground = os.path.join(root, "mask_dict_foreground.json")
        extra = (foreground,) if os.path.exists(foreground) else ()
        return SourceFiles((expressions, masks, *extra), (), find_frames([os.path.join(root, "JPEGImages")], what))

    def expression_type(self, where: str, expression: dict) -> str | None:
        type_id = expression.get("type_id")
        if type(type_id) is not int or type_id not in range(len(TYPES)):
            raise DatasetContentError(f"{where}: 'type_id' is {type_id!r}, known are 0, 1 and 2")
        return TYPES[type_id]

    def foreground(self, split: str, video_id: str, entry: VideoEntry) -> Track | None:
        files = self.source[split].metadata
        if len(files) < 3:
            return None
        videos = cached_json_object(files[2])
        if video_id not in videos:
            if split != "valid":  # VISA's program makes the file for the videos of one split, which are scored
                return None
            raise DatasetContentError(f"{files[2]}: no foreground of video {video_id!r}")
        name = f"{files[2]}: video {video_id!r}"
        entry_masks = videos[video_id]
        if not isinstance(entry_masks, dict) or "masks_rle" not in entry_masks:
            raise DatasetContentError(f"{name} has no 'masks_rle'")
        return clean_track(entry_masks["masks_rle"], len(entry.frames), entry.size, name)[0]
