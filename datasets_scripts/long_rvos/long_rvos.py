"""Long-RVOS. Layout and options: docs/datasets.md."""

from __future__ import annotations

import os.path
from collections.abc import Iterator

from glus_hf.data.dataset_files import SourceFiles, check_name, find_frames, require_files
from glus_hf.data.dataset_schema import VideoEntry, make_row
from glus_hf.data.expression_file_builder import ExpressionFileBuilder
from glus_hf.data.expression_files import id_list, video_expressions
from glus_hf.data.png_tracks import read_binary_track
from glus_hf.errors import DatasetContentError, DatasetFileError
from glus_hf.media.rle import Track


TYPES = {"static": "static", "dynamic": "dynamic", "static+dynamic": "hybrid", "hybrid": "hybrid"}


class LongRVOS(ExpressionFileBuilder):
    """Long-RVOS: long-term referring video object segmentation."""

    SPLITS = ("train", "valid", "test")
    FOLDERS = ("long_rvos", "Long-RVOS", "Long_RVOS")
    LICENSE = "Apache-2.0 as stated with the download; the videos come from other datasets"

    def source_files(self, root: str, split: str) -> SourceFiles:
        folder = os.path.join(root, split)
        expressions, annotations = os.path.join(folder, "meta_expressions.json"), os.path.join(folder, "Annotations")
        require_files([expressions, *([annotations] if split != "test" else [])], f"long_rvos {split}")
        frames = find_frames([os.path.join(folder, "JPEGImages")], f"long_rvos {split}")
        return SourceFiles((expressions,), (annotations,) if split != "test" else (), frames)

    def video_rows(self, split: str, video_id: str) -> Iterator[dict]:
        video, entry = self.video_entry(split, video_id)
        path, annotations = entry.origin, self.source[split].annotations
        tracks: dict[str, Track] = {}
        for expression_id, expression in video_expressions(path, video_id, video):
            where = f"video {video_id!r}, expression {expression_id!r}"
            objects = id_list(path, where, expression, "obj_id")
            if annotations and not objects:
                raise DatasetContentError(f"{path}: {where} has no 'obj_id'")
            for object_id in objects if annotations else ():
                if object_id not in tracks:
                    tracks[object_id] = self._track(split, entry, object_id, where)
            yield make_row(
                entry,
                expression_id,
                expression["exp"],
                expression_type=self._type(path, where, expression),
                object_ids=objects or [],
                tracks=[tracks[object_id] for object_id in objects] if annotations else None,
            )

    def _track(self, split: str, entry: VideoEntry, object_id: str, where: str) -> Track:
        """Masks of one object; a frame without a file is one where the object is absent."""
        check_name(object_id, f"{where}: object id", entry.origin)
        folder = os.path.join(self.source[split].annotations[0], entry.video_id, object_id)
        return read_binary_track(folder, entry.frames, entry.size, f"{where}, object {object_id!r}")

    @staticmethod
    def _type(path: str, where: str, expression: dict) -> str | None:
        found = expression.get("type")
        if found is None:
            return None
        if not isinstance(found, str) or found not in TYPES:
            raise DatasetFileError(f"{path}: {where}: unknown type {found!r}: known are {', '.join(TYPES)}")
        return TYPES[found]
