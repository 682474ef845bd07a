"""YouTube-VOS. Layout: docs/object-datasets.md."""

from __future__ import annotations

import os
from collections.abc import Iterator

from glus_hf.data.dataset_files import FrameFolder, SourceFiles, check_name, find_frames, header_size, require_files
from glus_hf.data.objects.object_builder import ObjectDatasetBuilder
from glus_hf.data.objects.object_schema import FoundImage, FoundObject, mask_box, plain_name
from glus_hf.data.png_tracks import read_index_tracks
from glus_hf.data.strict_json import cached_json
from glus_hf.errors import DatasetContentError


class YouTubeVOS(ObjectDatasetBuilder):
    """YouTube-VOS: tracked masks on every fifth frame; of valid and test, on the frames where objects appear."""

    SPLITS = ("train", "valid", "test")
    ALIASES = {"validation": "valid", "val": "valid"}
    FOLDERS = ("ytbvos18", "ytbvos19", "YouTube-VOS", "youtube_vos", "youtube-vos", "YouTubeVOS")
    LICENSE = "CC BY 4.0"
    PART = "video"

    def source_files(self, root: str, split: str) -> SourceFiles:
        meta, annotations = (os.path.join(root, split, name) for name in ("meta.json", "Annotations"))
        require_files([meta, annotations], f"youtube_vos {split}")
        return SourceFiles(
            (meta,), (annotations,), find_frames([os.path.join(root, split, "JPEGImages")], f"youtube_vos {split}")
        )

    def names(self, split: str) -> list[str]:
        found = (_categories(*_video(self.source[split].metadata[0], video)).values() for video in self.parts(split))
        return sorted({name for names in found for name in names})

    def parts(self, split: str) -> list[str]:
        path = self.source[split].metadata[0]
        content = cached_json(path)
        videos = content.get("videos") if isinstance(content, dict) else None
        if not isinstance(videos, dict):
            raise DatasetContentError(f"{path}: has no 'videos'")
        return [check_name(video, "video", path) for video in videos]

    def images(self, split: str, part: str) -> Iterator[FoundImage]:
        source = self.source[split]
        names = _categories(*_video(source.metadata[0], part))
        folder = os.path.join(source.annotations[0], part)
        require_files([folder], f"youtube_vos {split}: video {part!r}")
        frames = sorted(name.removesuffix(".png") for name in os.listdir(folder) if name.endswith(".png"))
        paths = FrameFolder(source.frames).paths(part, frames)
        size = header_size(paths[0]) if paths else None
        for frame_idx, (frame, path) in enumerate(zip(frames, paths, strict=True)):
            masks = read_index_tracks(folder, [frame], names, size, f"video {part!r}")
            yield FoundImage(
                f"{part}/{frame}",
                path,
                size,
                [_object(key, mask, names[key], size) for key, (mask,) in masks.items() if mask is not None],
                video_id=part,
                frame_idx=frame_idx,
            )


def _video(path: str, video_id: str) -> tuple[str, dict]:
    video = cached_json(path)["videos"][video_id]
    objects = video.get("objects") if isinstance(video, dict) else None
    if not isinstance(objects, dict) or not all(isinstance(each, dict) for each in objects.values()):
        raise DatasetContentError(f"{path}: video {video_id!r} has no 'objects'")
    return f"{path}: video {video_id!r}", objects


def _categories(where: str, objects: dict) -> dict[str, str]:
    """Name of the category of every object."""
    return {key: plain_name(f"{where}, object {key!r}", each.get("category")) for key, each in objects.items()}


def _object(key: str, mask: dict, name: str, size: tuple[int, int]) -> FoundObject:
    return FoundObject(key, mask_box(key, mask, size), mask, name, track_id=key)
