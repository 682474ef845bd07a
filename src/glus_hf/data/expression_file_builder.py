"""Builder base for datasets with a `meta_expressions.json`."""

from __future__ import annotations

from .dataset_builder import ReferringDatasetBuilder
from .dataset_files import FrameFolder, image_size
from .dataset_schema import VideoEntry
from .expression_files import read_videos, video_frames


class ExpressionFileBuilder(ReferringDatasetBuilder):
    """Videos out of an expression file, which is the first of a split's `metadata`."""

    def video_ids(self, split: str) -> list[str]:
        return list(read_videos(self.source[split].metadata[0]))

    def video_entry(self, split: str, video_id: str) -> tuple[dict, VideoEntry]:
        """What the expression file holds about a video, and what its rows share."""
        path, frame_folder = self.source[split].metadata[0], FrameFolder(self.source[split].frames)
        video = read_videos(path)[video_id]
        frames = video_frames(path, video_id, video)
        frame_paths = frame_folder.paths(video_id, frames)
        size = self.video_size(path, video_id, frame_paths[0])
        return video, VideoEntry(self.name, video_id, frames, frame_paths, size, path)

    def video_size(self, path: str, video_id: str, frame_path: str) -> tuple[int, int] | None:
        """`(height, width)` of a video with this first frame; None leaves it to its masks."""
        return image_size(frame_path)
