"""Refer-YouTube-VOS. Layout and options: docs/datasets.md."""

from __future__ import annotations

import os.path
from collections.abc import Iterator
from itertools import chain

from glus_hf.data.dataset_files import SourceFiles, find_frames, require_files
from glus_hf.data.dataset_schema import make_row
from glus_hf.data.expression_file_builder import ExpressionFileBuilder
from glus_hf.data.expression_files import id_list, read_videos, target_ids, video_expressions
from glus_hf.data.png_tracks import read_index_tracks


class ReferYouTubeVOS(ExpressionFileBuilder):
    """Refer-YouTube-VOS: referring video object segmentation on YouTube-VOS."""

    SPLITS = ("train", "valid", "test")
    FOLDERS = ("Refer-YouTube-VOS", "refer_youtube_vos", "ref-youtube-vos", "refytvos", "rvos")
    LICENSE = "see the terms of YouTube-VOS"

    def source_files(self, root: str, split: str) -> SourceFiles:
        expressions = os.path.join(root, "meta_expressions", split, "meta_expressions.json")
        annotations = os.path.join(root, split, "Annotations")
        require_files([expressions, *([annotations] if split == "train" else [])], f"refer_youtube_vos {split}")
        extra = os.path.join(root, *_EXTRA_FILE[split])
        # the videos of test are part of the download of valid
        folders = [os.path.join(root, part, "JPEGImages") for part in dict.fromkeys((split, _FRAMES_TOO[split]))]
        return SourceFiles(
            (expressions, *([extra] if os.path.exists(extra) else [])),
            (annotations,) if split == "train" else (),
            find_frames(folders, f"refer_youtube_vos {split}"),
        )

    def video_ids(self, split: str) -> list[str]:
        """All videos of the file; valid's also lists those of test, which are left out if test's file is there."""
        path, *extra = self.source[split].metadata
        left_out = read_videos(extra[0]) if split == "valid" and extra else {}
        return [video_id for video_id in read_videos(path) if video_id not in left_out]

    def video_rows(self, split: str, video_id: str) -> Iterator[dict]:
        video, entry = self.video_entry(split, video_id)
        expressions = video_expressions(entry.origin, video_id, video)
        objects = {key: self._object_ids(split, video_id, key, expression) for key, expression in expressions}
        tracks = None
        if annotations := self.source[split].annotations:
            folder, wanted = os.path.join(annotations[0], video_id), chain.from_iterable(objects.values())
            tracks = read_index_tracks(folder, entry.frames, wanted, entry.size, f"video {video_id!r}")
        for expression_id, expression in expressions:
            ids = objects[expression_id]
            yield make_row(
                entry,
                expression_id,
                expression["exp"],
                object_ids=ids,
                tracks=None if tracks is None else [tracks[item] for item in ids],
            )

    def _object_ids(self, split: str, video_id: str, expression_id: str, expression: dict) -> list[str]:
        path, *extra = self.source[split].metadata
        if split == "train":
            return target_ids(path, extra[0] if extra else None, video_id, expression_id, expression)
        return id_list(path, f"video {video_id!r}, expression {expression_id!r}", expression, "obj_id") or []


_EXTRA_FILE = {
    "train": ("train", "meta.json"),
    "valid": ("meta_expressions", "test", "meta_expressions.json"),
    "test": ("test", "meta.json"),
}
_FRAMES_TOO = {"train": "train", "valid": "valid", "test": "valid"}
