"""Your own videos in the layout of docs/own-data.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from glus_hf.data.dataset_builder import ReferringDatasetBuilder
from glus_hf.data.dataset_files import SourceFiles
from glus_hf.data.dataset_schema import VideoEntry, make_row
from glus_hf.data.own.expressions import EXPRESSIONS, OwnExpression, own_data_error, read_expressions
from glus_hf.data.own.videos import OwnVideo, find_splits, open_video, read_track
from glus_hf.errors import DatasetFileError


SAME_SPLIT = {"validation": "valid", "valid": "validation"}


class Own(ReferringDatasetBuilder):
    """Own videos with expressions and, where given, masks.

    The splits are the folders that hold an `expressions.jsonl`; a folder that holds one itself is the split `train`.
    """

    def splits(self, root: str) -> Sequence[str]:
        return list(find_splits(root))

    def source_files(self, root: str, split: str) -> SourceFiles:
        return SourceFiles(annotations=(str(self._folder(root, split)),))

    def video_ids(self, split: str) -> list[str]:
        return list(self._expressions(split))

    def video_rows(self, split: str, video_id: str) -> Iterator[dict]:
        folder, expressions = self._folder(self.config.data_dir, split), self._expressions(split)[video_id]
        try:
            video = open_video(folder, video_id)
        except ValueError as error:
            raise own_data_error(folder, expressions[0].line, error) from None
        entry = VideoEntry("own", video_id, video.frames, video.frame_paths, video.size, str(folder / EXPRESSIONS))
        tracks: dict[str, list] = {}  # of folders: expressions about one object share it
        for expression in expressions:
            objects = expression.objects
            yield make_row(
                entry,
                expression.id,
                expression.text,
                expression_type=expression.type,
                object_ids=[name for name, _ in objects or ()],
                annotation_ids=[
                    masks if isinstance(masks, str) else f"line {expression.line}, {place}"
                    for place, (_, masks) in enumerate(objects or ())
                ],
                tracks=None if objects is None else _read_tracks(folder, expression, video, tracks),
            )

    def _folder(self, root: str, split: str) -> Path:
        folders = find_splits(root)
        for name in (split, SAME_SPLIT.get(split)):
            if name in folders:
                return folders[name]
        raise DatasetFileError(f"{root}: has no split {split!r}; use {', '.join(folders)}")

    def _expressions(self, split: str) -> dict[str, list[OwnExpression]]:
        if not hasattr(self, "_read"):
            self._read = {}
        if split not in self._read:
            self._read[split] = read_expressions(self._folder(self.config.data_dir, split))
        return self._read[split]


def _read_tracks(folder: Path, expression: OwnExpression, video: OwnVideo, known: dict[str, list]) -> list[list]:
    found = []
    for _, masks in expression.objects:
        if isinstance(masks, str) and masks in known:
            found.append(known[masks])
            continue
        try:
            found.append(read_track(folder, masks, video))
        except ValueError as error:
            raise own_data_error(folder, expression.line, error) from None
        if isinstance(masks, str):
            known[masks] = found[-1]
    return found
