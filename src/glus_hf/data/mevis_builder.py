"""Builder base for data sets in the form of MeViS: `meta_expressions.json` and masks in one `mask_dict.json`."""

from __future__ import annotations

from collections.abc import Iterator

from .dataset_files import DatasetFileError, FrameFolder, image_size
from .dataset_schema import ReferringDatasetBuilder, VideoEntry, make_row
from .expression_files import id_list, read_videos, video_expressions, video_frames
from .json_files import cached_json_object
from .rle_tracks import Track, clean_track


class MeViSLayoutBuilder(ReferringDatasetBuilder):
    """Rows out of an expression file with `anno_id` lists and a mask dictionary.

    A subclass implements `source_files` with `metadata = (expression file[, mask dictionary, ...])`.
    """

    def video_ids(self, split: str) -> list[str]:
        return list(read_videos(self.source[split].metadata[0]))

    def video_rows(self, split: str, video_id: str) -> Iterator[dict]:
        files = self.source[split]
        path = files.metadata[0]
        video = read_videos(path)[video_id]
        frames = video_frames(path, video_id, video)
        expressions = video_expressions(path, video_id, video)
        frame_paths = FrameFolder(files.frames).paths(video_id, frames)
        size = self._stated_size(path, video_id) or _readable_size(frame_paths[0])
        tracks, size = self._tracks(split, video_id, expressions, len(frames), size)
        entry = VideoEntry(self.name, video_id, frames, frame_paths, size or image_size(frame_paths[0]), path)
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
        """Union of all objects of a video, where the data set has it."""
        return None

    def _tracks(
        self,
        split: str,
        video_id: str,
        expressions: list[tuple[str, dict]],
        num_frames: int,
        size: tuple[int, int] | None,
    ) -> tuple[dict[str, Track], tuple[int, int] | None]:
        """Masks of the video by annotation id, each read and checked once however many expressions share it."""
        path, *rest = self.source[split].metadata
        tracks: dict[str, Track] = {}
        for expression_id, expression in expressions:
            annotations, _ = self._ids(split, video_id, expression_id, expression)
            for annotation in annotations or ():
                if annotation in tracks:
                    continue
                where = f"video {video_id!r}, expression {expression_id!r}"
                if not rest:
                    raise DatasetFileError(f"{path}: {where} names the annotation {annotation!r} but has no masks")
                masks = cached_json_object(rest[0])
                if annotation not in masks:
                    raise DatasetFileError(
                        f"{path}: {where}: unknown annotation id {annotation!r}: {rest[0]} does not hold it"
                    )
                name = f"{rest[0]}: annotation {annotation!r} (video {video_id!r})"
                tracks[annotation], size = clean_track(masks[annotation], num_frames, size, name)
        return tracks, size

    def _stated_size(self, path: str, video_id: str) -> tuple[int, int] | None:
        video = read_videos(path)[video_id]
        if "height" not in video or "width" not in video:
            return None
        size = (video["height"], video["width"])
        if not all(isinstance(side, int) and 0 < side <= 1 << 15 for side in size):
            raise DatasetFileError(f"{path}: video {video_id!r}: height and width are {size}, not pixels")
        return size

    def _ids(self, split: str, video_id: str, expression_id: str, expression: dict) -> tuple[list | None, list | None]:
        path, *masks = self.source[split].metadata
        where = f"video {video_id!r}, expression {expression_id!r}"
        annotations = id_list(path, where, expression, "anno_id")
        if annotations is None and masks:
            raise DatasetFileError(f"{path}: {where} has no 'anno_id': without a target it would be []")
        objects = id_list(path, where, expression, "obj_id")
        if annotations is not None and objects is not None and len(annotations) != len(objects):
            raise DatasetFileError(
                f"{path}: {where}: {len(objects)} in 'obj_id' but {len(annotations)} in 'anno_id': they go together"
            )
        return annotations, objects


def _readable_size(frame_path: str) -> tuple[int, int] | None:
    """`(height, width)` of a frame; None where it is broken, which is for those to say who read the images."""
    try:
        return image_size(frame_path)
    except DatasetFileError:
        return None
