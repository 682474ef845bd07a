"""JSON lines with COCO run lengths: the format to read in a few lines of any program."""

from __future__ import annotations

import json
from pathlib import Path

from .video_masks import VideoMasks


LINES = "masks.jsonl"


def write_rle_lines(folder: Path, videos: list[VideoMasks]) -> None:
    """`masks.jsonl`: an object per expression with `video`, `id`, `expression`, `size` (height, width), `fps`,
    `frames`, `masks` (run lengths or null, one per frame) and `scores`."""
    with open(folder / LINES, "w", encoding="utf-8") as file:
        for video in videos:
            for index in range(len(video.labels)):
                file.write(json.dumps(_line(video, index), ensure_ascii=False) + "\n")


def _line(video: VideoMasks, index: int) -> dict:
    return {
        "video": video.video,
        "id": video.ids[index],
        "expression": video.labels[index],
        "size": list(video.size),
        "fps": video.fps,
        "frames": video.frame_names,
        "masks": video.tracks[index],
        "scores": None if video.scores is None else [round(score, 6) for score in video.scores[index]],
    }


__all__ = ["LINES", "write_rle_lines"]
