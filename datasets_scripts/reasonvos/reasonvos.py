"""ReasonVOS. Layout and options: docs/datasets.md."""

from __future__ import annotations

import os.path
from collections.abc import Iterator

from glus_hf.data.dataset_files import SourceFiles, check_name, find_frames, require_files
from glus_hf.data.dataset_schema import make_row
from glus_hf.data.expression_file_builder import ExpressionFileBuilder
from glus_hf.data.expression_files import id_list
from glus_hf.data.png_tracks import read_binary_track
from glus_hf.errors import DatasetContentError
from glus_hf.media.rle import Track


class ReasonVOS(ExpressionFileBuilder):
    """ReasonVOS: video reasoning segmentation, one object per expression."""

    SPLITS = ("test",)
    FOLDERS = ("ReasonVOS", "reasonvos")
    LICENSE = "non-commercial"

    def source_files(self, root: str, split: str) -> SourceFiles:
        expressions, annotations = os.path.join(root, "meta_expressions.json"), os.path.join(root, "Annotations")
        require_files([expressions, annotations], "reasonvos")
        return SourceFiles(
            (expressions,), (annotations,), find_frames([os.path.join(root, "JPEGImages")], "reasonvos")
        )

    def video_rows(self, split: str, video_id: str) -> Iterator[dict]:
        video, entry = self.video_entry(split, video_id)
        source = check_name(video.get("source"), f"video {video_id!r}: source", entry.origin)
        tracks: dict[str, Track] = {}
        for expression_id, object_id, text in self._expressions(entry.origin, video_id, video["expressions"]):
            if object_id not in tracks:
                folder = os.path.join(self.source[split].annotations[0], f"{source}_{video_id}_{object_id}")
                where = f"video {video_id!r}, expression {expression_id!r}, object {object_id!r}"
                tracks[object_id] = read_binary_track(folder, entry.frames, entry.size, where, keep_empty=True)
            yield make_row(
                entry, expression_id, text, object_ids=[object_id], tracks=[tracks[object_id]], source=source
            )

    @staticmethod
    def _expressions(path: str, video_id: str, expressions) -> Iterator[tuple[str, str, str]]:
        """Expression id, object id and text; the file holds a list, and the ids in it are those of the evaluator."""
        if not isinstance(expressions, list):
            raise DatasetContentError(f"{path}: video {video_id!r}: 'expressions' must be a list")
        seen = set()
        for place, expression in enumerate(expressions):
            where = f"video {video_id!r}, expression at place {place}"
            if not isinstance(expression, dict) or not {"obj_id", "exp_id", "exp_text"} <= expression.keys():
                raise DatasetContentError(f"{path}: {where} needs 'obj_id', 'exp_id' and 'exp_text'")
            expression_id, *more = id_list(path, where, expression, "exp_id") or [""]
            object_id, *more_objects = id_list(path, where, expression, "obj_id") or [""]
            if more or more_objects:
                raise DatasetContentError(f"{path}: {where}: 'exp_id' and 'obj_id' must be one id each")
            if expression_id in seen:
                raise DatasetContentError(
                    f"{path}: video {video_id!r}: the expression id {expression_id!r} appears twice"
                )
            seen.add(expression_id)
            check_name(object_id, f"{where}: object id", path)
            yield expression_id, object_id, expression["exp_text"]
