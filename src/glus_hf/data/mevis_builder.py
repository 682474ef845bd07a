"""Builder base for datasets in the form of MeViS: `meta_expressions.json` and masks in one `mask_dict.json`."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import DatasetContentError, DatasetFileError
from ..media.rle import Track, clean_track
from .dataset_files import image_size
from .dataset_schema import VideoEntry, make_row
from .expression_file_builder import ExpressionFileBuilder
from .expression_files import id_list, read_videos, video_expressions
from .strict_json import cached_json_object


class MeViSLayoutBuilder(ExpressionFileBuilder):
    """Rows out of an expression file with `anno_id` lists and a mask dictionary.

    A subclass implements `source_files` with `metadata = (expression file[, mask dictionary, ...])`.
    """

    def video_rows(self, split: str, video_id: str) -> Iterator[dict]:
        video, entry = self.video_entry(split, video_id)
        path = entry.origin
        expressions = video_expressions(path, video_id, video)
        tracks = self._tracks(split, entry, expressions)
        entry.size = entry.size or image_size(entry.frame_paths[0])
        foreground = self.foreground(split, video_id, entry)
        for expression_id, expression in expressions:
            annotations, objects = self._ids(split, video_id, expression_id, expression)
            yield make_row(
                entry,
                expression_id,
                expression["exp"],
                expression_type=self.expression_type(f"{path}: video {video_id!r}, {expression_id!r}", expression),
                object_ids=objects or [],
                annotation_ids=annotations or [],
                tracks=None if annotations is None else [tracks[annotation] for annotation in annotations],
                foreground=foreground,
            )

    def expression_type(self, where: str, expression: dict) -> str | None:
        """Type of an expression; `where` is for errors."""
        return None

    def foreground(self, split: str, video_id: str, entry: VideoEntry) -> Track | None:
        """Union of all objects of a video, where the dataset has it."""
        return None

    def video_size(self, path: str, video_id: str, frame_path: str) -> tuple[int, int] | None:
        """What the file says, else the first frame; None if that is broken, which is for those to say who read it."""
        video = read_videos(path)[video_id]
        if "height" not in video or "width" not in video:
            try:
                return image_size(frame_path)
            except DatasetFileError:
                return None
        size = (video["height"], video["width"])
        if not all(isinstance(side, int) and 0 < side <= 1 << 15 for side in size):
            raise DatasetContentError(f"{path}: video {video_id!r}: height and width are {size}, not pixels")
        return size

    def _tracks(self, split: str, entry: VideoEntry, expressions: list[tuple[str, dict]]) -> dict[str, Track]:
        """Masks of the video by annotation id, each read and checked once however many expressions share it.

        They must be of the video's size, or tell it.
        """
        path, *rest = self.source[split].metadata
        video_id = entry.video_id
        tracks: dict[str, Track] = {}
        for expression_id, expression in expressions:
            annotations, _ = self._ids(split, video_id, expression_id, expression)
            for annotation in annotations or ():
                if annotation in tracks:
                    continue
                where = f"video {video_id!r}, expression {expression_id!r}"
                if not rest:
                    raise DatasetContentError(f"{path}: {where} names the annotation {annotation!r} but has no masks")
                masks = cached_json_object(rest[0])
                if annotation not in masks:
                    raise DatasetContentError(
                        f"{path}: {where}: unknown annotation id {annotation!r}: {rest[0]} does not hold it"
                    )
                name = f"{rest[0]}: annotation {annotation!r} (video {video_id!r})"
                tracks[annotation], entry.size = clean_track(masks[annotation], len(entry.frames), entry.size, name)
        return tracks

    def _ids(self, split: str, video_id: str, expression_id: str, expression: dict) -> tuple[list | None, list | None]:
        path, *masks = self.source[split].metadata
        where = f"video {video_id!r}, expression {expression_id!r}"
        annotations = id_list(path, where, expression, "anno_id")
        if annotations is None and masks:
            raise DatasetContentError(f"{path}: {where} has no 'anno_id': without a target it would be []")
        objects = id_list(path, where, expression, "obj_id")
        if annotations is not None and objects is not None and len(annotations) != len(objects):
            raise DatasetContentError(
                f"{path}: {where}: {len(objects)} in 'obj_id' but {len(annotations)} in 'anno_id': they go together"
            )
        return annotations, objects
