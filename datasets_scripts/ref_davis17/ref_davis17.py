"""Ref-DAVIS17 in ReferFormer's layout. Layout and options: docs/datasets.md."""

from __future__ import annotations

import os.path
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from glus_hf.data.dataset_builder import ReferringDatasetConfig
from glus_hf.data.dataset_files import SourceFiles, find_frames, require_files
from glus_hf.data.dataset_schema import VideoEntry, make_row
from glus_hf.data.expression_file_builder import ExpressionFileBuilder
from glus_hf.data.expression_files import read_videos, target_ids, video_expressions
from glus_hf.data.png_tracks import read_index_tracks
from glus_hf.data.restricted_pickle import cached_plain_pickle
from glus_hf.errors import DatasetContentError, DatasetFileError
from glus_hf.media.rle import Track, clean_track


GROUND_TRUTH = ("auto", "annotations", "pickle")


@dataclass
class RefDavis17Config(ReferringDatasetConfig):
    """`ground_truth`: "annotations" (PNG), "pickle" (VISA's `mask_dict.pkl`), "auto" for the first that is there."""

    ground_truth: str = "auto"


class RefDavis17(ExpressionFileBuilder):
    """Ref-DAVIS17: referring video object segmentation on DAVIS 2017."""

    BUILDER_CONFIG_CLASS = RefDavis17Config
    SPLITS = ("train", "valid")
    FOLDERS = ("DAVIS17", "davis17", "ref-davis", "ref_davis17", "Ref-DAVIS17")
    LICENSE = "see the terms of DAVIS"

    def source_files(self, root: str, split: str) -> SourceFiles:
        what = f"ref_davis17 {split}"
        expressions = os.path.join(root, "meta_expressions", split, "meta_expressions.json")
        annotations = os.path.join(root, split, "Annotations")
        pickled = os.path.join(root, split, "mask_dict.pkl")
        wanted = self.config.ground_truth
        if wanted not in GROUND_TRUTH:
            raise DatasetFileError(f"{what}: unknown ground_truth {wanted!r}: known are {', '.join(GROUND_TRUTH)}")
        require_files([expressions], what)
        if wanted == "auto":
            wanted = "pickle" if os.path.exists(pickled) and not os.path.isdir(annotations) else "annotations"
            if not os.path.isdir(annotations) and not os.path.exists(pickled):
                raise DatasetFileError(f"{what}: no ground truth: looked for {annotations}, {pickled}; check data_dir")
        frames = find_frames([os.path.join(root, split, "JPEGImages")], what)
        if wanted == "pickle":
            require_files([pickled], what)
            return SourceFiles((expressions, pickled), (), frames)
        require_files([annotations], what)
        objects = os.path.join(root, split, "meta.json")
        return SourceFiles((expressions, *([objects] if os.path.exists(objects) else [])), (annotations,), frames)

    def video_rows(self, split: str, video_id: str) -> Iterator[dict]:
        video, entry = self.video_entry(split, video_id)
        expressions = video_expressions(entry.origin, video_id, video)
        objects = {key: self._object_ids(split, video_id, key, expression) for key, expression in expressions}
        tracks = None
        if annotations := self.source[split].annotations:
            folder, wanted = os.path.join(annotations[0], video_id), chain.from_iterable(objects.values())
            tracks = read_index_tracks(folder, entry.frames, wanted, entry.size, f"video {video_id!r}")
        for expression_id, expression in expressions:
            if tracks is None:  # a pickled mask belongs to the expression, not to the object
                masks = [self._pickled_track(split, entry, expression_id)]
                annotation_ids = [str(self._pickle_key(entry.origin, video_id, expression_id))]
            else:
                masks, annotation_ids = [tracks[item] for item in objects[expression_id]], []
            yield make_row(
                entry,
                expression_id,
                expression["exp"],
                object_ids=objects[expression_id],
                annotation_ids=annotation_ids,
                tracks=masks,
            )

    def _object_ids(self, split: str, video_id: str, expression_id: str, expression: dict) -> list[str]:
        path, *extra = self.source[split].metadata
        objects_path = next((file for file in extra if file.endswith(".json")), None)
        return target_ids(path, objects_path, video_id, expression_id, expression)

    def _pickled_track(self, split: str, entry: VideoEntry, expression_id: str) -> Track:
        path, pickled = self.source[split].metadata
        masks = cached_plain_pickle(pickled)
        number = sum(len(video["expressions"]) for video in read_videos(path).values())
        if not isinstance(masks, dict) or len(masks) != number:
            found = f"{len(masks)} masks" if isinstance(masks, dict) else f"a {type(masks).__name__}"
            raise DatasetContentError(f"{pickled}: holds {found} but {path} has {number} expressions")
        key = self._pickle_key(path, entry.video_id, expression_id)
        where = f"{pickled}: mask {key} (video {entry.video_id!r}, expression {expression_id!r})"
        if str(key) not in masks:
            raise DatasetContentError(f"{where} is missing: the keys must count the expressions from 0")
        return clean_track(masks[str(key)], len(entry.frames), entry.size, where)[0]

    @staticmethod
    def _pickle_key(path: str, video_id: str, expression_id: str) -> int:
        """The pickle numbers expressions over sorted videos and, in each, ids sorted as texts ("10" before "2")."""
        videos = read_videos(path)
        before = sum(len(video["expressions"]) for other, video in videos.items() if other < video_id)
        return before + sorted(videos[video_id]["expressions"]).index(expression_id)
