"""Refer-YouTube-VOS as images with described objects. Layout: docs/datasets.md."""

from __future__ import annotations

from collections.abc import Iterator

from glus_hf.data.objects.object_builder import ObjectDatasetBuilder
from glus_hf.data.objects.object_schema import FoundImage, FoundObject, mask_box

from ..refer_youtube_vos.refer_youtube_vos import ReferYouTubeVOS


class ReferYouTubeVOSObjects(ObjectDatasetBuilder, ReferYouTubeVOS):
    """Refer-YouTube-VOS: tracked masks with descriptions of each object."""

    SPLITS = ("train",)
    FOLDERS = ReferYouTubeVOS.FOLDERS
    PART = "video"

    def parts(self, split: str) -> list[str]:
        return self.video_ids(split)

    def images(self, split: str, part: str) -> Iterator[FoundImage]:
        rows = [row for row in self.video_rows(split, part) if len(row["object_ids"]) == 1]
        tracks = {row["object_ids"][0]: row["masks"] for row in rows}
        texts: dict[str, list[str]] = {}
        for row in rows:
            texts.setdefault(row["object_ids"][0], []).append(row["expression"])
        size = (rows[0]["height"], rows[0]["width"]) if rows else None
        frames = zip(rows[0]["frames"], rows[0]["frame_paths"], strict=True) if rows else ()
        for frame_idx, (frame, path) in enumerate(frames):
            shown = {key: track[frame_idx] for key, track in tracks.items() if track[frame_idx] is not None}
            objects = [
                FoundObject(key, mask_box(key, mask, size), mask, descriptions=texts[key], track_id=key)
                for key, mask in shown.items()
            ]
            yield FoundImage(f"{part}/{frame}", path, size, objects, video_id=part, frame_idx=frame_idx)
