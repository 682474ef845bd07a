"""LV-VIS with VISA's expressions. Layout and options: docs/datasets.md."""

from __future__ import annotations

import os.path

from glus_hf.data.dataset_files import SourceFiles, find_frames
from glus_hf.data.mevis_builder import MeViSLayoutBuilder
from glus_hf.errors import DatasetFileError


class LVVIS(MeViSLayoutBuilder):
    """LV-VIS: large-vocabulary video instance segmentation with category texts as expressions."""

    SPLITS = ("train",)
    FOLDERS = ("LVVIS", "lvvis", "LV-VIS")
    LICENSE = "CC BY-NC-SA 4.0"

    def source_files(self, root: str, split: str) -> SourceFiles:
        folders = [root, os.path.join(root, split)]  # GLUS' and VISA's place
        names = ("meta_expressions.json", "mask_dict.json")
        for folder in folders:
            files = tuple(os.path.join(folder, name) for name in names)
            if all(os.path.exists(file) for file in files):
                return SourceFiles(files, (), find_frames([os.path.join(root, split, "JPEGImages")], "lvvis train"))
        looked_for = ", ".join(os.path.join(folder, name) for folder in folders for name in names)
        raise DatasetFileError(
            f"lvvis train: files are missing: looked for {looked_for}, two in one folder; check data_dir"
        )
