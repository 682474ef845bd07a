"""Ref-DAVIS17 in ReferFormer's layout. Layout and options: docs/datasets.md."""

from __future__ import annotations

import os.path
from collections.abc import Iterator
from dataclasses import dataclass

from glus_hf.data.dataset_files import (
    DatasetFileError,
    FrameFolder,
    SourceFiles,
    find_frames,
    image_size,
    require_files,
)
from glus_hf.data.dataset_schema import ReferringDatasetBuilder, ReferringDatasetConfig, VideoEntry, make_row
from glus_hf.data.expression_files import read_videos, target_ids, video_expressions, video_frames
from glus_hf.data.png_tracks import read_index_tracks
from glus_hf.data.restricted_pickle import cached_plain_pickle
from glus_hf.data.rle_tracks import Track, clean_track


GROUND_TRUTH = ("auto", "annotations", "pickle")


@dataclass
class RefDavis17Config(ReferringDatasetConfig):
    """`ground_truth`: "annotations" (PNG), "pickle" (VISA's `mask_dict.pkl`), "auto" for the first that is there."""

    ground_truth: str = "auto"


class RefDavis17(ReferringDatasetBuilder):
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
                raise DatasetFileError(f"{what}: no ground truth: looked for {annotations}, {pickled}")
        frames = find_frames([os.path.join(root, split, "JPEGImages")], what)
        if wanted == "pickle":
            require_files([pickled], what)
            return SourceFiles((expressions, pickled), (), frames)
        require_files([annotations], what)
        objects = os.path.join(root, split, "meta.json")
        return SourceFiles((expressions, *([objects] if os.path.exists(objects) else [])), (annotations,), frames)

    def video_ids(self, split: str) -> list[str]:
        return list(read_videos(self.source[split].metadata[0]))

    def video_rows(self, split: str, video_id: str) -> Iterator[dict]:
        files = self.source[split]
        path = files.metadata[0]
        video = read_videos(path)[video_id]
        frames = video_frames(path, video_id, video)
        expressions = video_expressions(path, video_id, video)
        frame_paths = FrameFolder(files.frames).paths(video_id, frames)
        entry = VideoEntry(self.name, video_id, frames, frame_paths, image_size(frame_paths[0]), path)
        objects = {key: self._object_ids(split, video_id, key, expression) for key, expression in expressions}
        tracks = self._png_tracks(split, entry, objects) if files.annotations else None
        for expression_id, expression in expressions:
            if tracks is None:
                masks = [self._pickled_track(split, entry, expression_id)]
            else:
                masks = [tracks[item] for item in objects[expression_id]]
            # a pickled mask belongs to the expression, not to the object
            yield make_row(
                entry,
                expression_id,
                expression["exp"],
                object_ids=objects[expression_id],
                annotation_ids=[] if files.annotations else [str(self._pickle_key(path, video_id, expression_id))],
                tracks=masks,
            )

    def _object_ids(self, split: str, video_id: str, expression_id: str, expression: dict) -> list[str]:
        path, *extra = self.source[split].metadata
        objects_path = next((file for file in extra if file.endswith(".json")), None)
        return target_ids(path, objects_path, video_id, expression_id, expression)

    def _png_tracks(self, split: str, entry: VideoEntry, objects: dict[str, list[str]]) -> dict[str, Track]:
        folder = os.path.join(self.source[split].annotations[0], entry.video_id)
        wanted = list(dict.fromkeys(item for ids in objects.values() for item in ids))
        masks = [os.path.join(folder, f"{frame}.png") for frame in entry.frames]
        return read_index_tracks(masks, wanted, entry.size, f"video {entry.video_id!r}")

    def _pickled_track(self, split: str, entry: VideoEntry, expression_id: str) -> Track:
        path, pickled = self.source[split].metadata
        masks = cached_plain_pickle(pickled)
        number = sum(len(video["expressions"]) for video in read_videos(path).values())
        if not isinstance(masks, dict) or len(masks) != number:
            found = f"{len(masks)} masks" if isinstance(masks, dict) else f"a {type(masks).__name__}"
            raise DatasetFileError(f"{pickled}: holds {found} but {path} has {number} expressions")
        key = self._pickle_key(path, entry.video_id, expression_id)
        where = f"{pickled}: mask {key} (video {entry.video_id!r}, expression {expression_id!r})"
        if str(key) not in masks:
            raise DatasetFileError(f"{where} is missing: the keys must count the expressions from 0")
        return clean_track(masks[str(key)], len(entry.frames), entry.size, where)[0]

    @staticmethod
    def _pickle_key(path: str, video_id: str, expression_id: str) -> int:
        """The pickle numbers expressions over sorted videos and, in each, ids sorted as texts ("10" before "2")."""
        videos = read_videos(path)
        before = sum(len(video["expressions"]) for other, video in videos.items() if other < video_id)
        return before + sorted(videos[video_id]["expressions"]).index(expression_id)
