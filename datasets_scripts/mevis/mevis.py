"""MeViS v1 and v2. Layout and options: docs/datasets.md."""

from __future__ import annotations

import os.path
from dataclasses import dataclass

from glus_hf.data.dataset_builder import ReferringDatasetConfig
from glus_hf.data.dataset_files import SourceFiles, find_frames, require_files
from glus_hf.data.mevis_builder import MeViSLayoutBuilder
from glus_hf.errors import DatasetFileError


V1_FILES = ("meta_expressions.json",)
V2_FILES = ("meta_expressions_v2.json", "meta_expressions_v2_release.json")


@dataclass
class MeViSConfig(ReferringDatasetConfig):
    """`expression_version` is the option `version`: "v1", "v2", or "auto" for the one that is there."""

    expression_version: str = "auto"


class MeViS(MeViSLayoutBuilder):
    """MeViS: referring video segmentation with motion expressions, versions 1 and 2."""

    BUILDER_CONFIG_CLASS = MeViSConfig
    OPTION_NAMES = {"version": "expression_version"}
    SPLITS = ("train", "valid_u", "valid")
    ALIASES: dict[str, str] = {}  # "validation" could mean either of two
    LICENSE = "CC BY-NC-SA 4.0"

    def folders(self) -> tuple[str, ...]:
        first, second = ("mevis", "MeViS", "MEVIS", "MeViS_release"), ("mevis_v2", "MeViS_v2", "MeViSv2")
        return (*second, *first) if self.config.expression_version == "v2" else (*first, *second)

    def source_files(self, root: str, split: str) -> SourceFiles:
        folder = os.path.join(root, split)
        expressions = self._expression_file(folder)
        masks = os.path.join(folder, "mask_dict.json")
        if split != "valid":  # the masks of valid are with the server
            require_files([masks], f"mevis {split}")
        masks = [masks] if os.path.exists(masks) else []
        return SourceFiles((expressions, *masks), (), find_frames([os.path.join(folder, "JPEGImages")], "mevis"))

    def expression_type(self, where: str, expression: dict) -> str | None:
        return "no_target" if expression.get("anno_id") == [] else None

    def _expression_file(self, folder: str) -> str:
        # the download page of v2 also speaks of meta_expressions.json, so v2 takes it where there is nothing else
        names = {"auto": (*V1_FILES, *V2_FILES), "v1": V1_FILES, "v2": (*V2_FILES, *V1_FILES)}
        version = self.config.expression_version
        if version not in names:
            raise DatasetFileError(f"mevis: unknown version {version!r}: known are {', '.join(names)}")
        candidates = [os.path.join(folder, name) for name in names[version]]
        found = [file for file in candidates if os.path.exists(file)]
        if not found:
            raise DatasetFileError(f"mevis: no expressions: looked for {', '.join(candidates)}; check data_dir")
        if version == "auto" and found[0] == candidates[0] and len(found) > 1:
            raise DatasetFileError(f"{folder}: holds v1 and v2 expressions: pass version='v1' or version='v2'")
        return found[0]
