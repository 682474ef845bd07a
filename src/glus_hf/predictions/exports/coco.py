"""COCO's JSON: one track per expression (YouTube-VIS), or one mask per frame and expression."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from .video_masks import VideoMasks, box_and_area, write_frames


ANNOTATIONS, VIDEO_FRAMES, IMAGES = "instances.json", "JPEGImages", "images"
INFO = {"description": "masks of expressions, written by glus_hf"}


def write_coco_video(folder: Path, videos: list[VideoMasks]) -> None:
    """`instances.json` of YouTube-VIS; an expression is a category, and the field `expression` of its annotations."""
    categories = _categories(videos)
    numbered = list(enumerate(videos, start=1))
    content = {
        "info": INFO,
        "videos": [_video(number, video) for number, video in numbered],
        "categories": [{"id": number, "name": label} for label, number in categories.items()],
        "annotations": _numbered(track for number, video in numbered for track in _tracks(number, video, categories)),
    }
    _write_json(folder / ANNOTATIONS, content)
    for video in videos:
        write_frames(folder / VIDEO_FRAMES, video)


def write_coco(folder: Path, videos: list[VideoMasks]) -> None:
    """`labels.json` of COCO detection with `images`; `data/` has the frames, as FiftyOne's importer expects."""
    categories, images, annotations = _categories(videos), [], []
    for video in videos:
        for frame, name in enumerate(video.file_names()):
            image = {"id": len(images) + 1, "file_name": name, "frame_index": frame, "video": video.video}
            images.append({**image, "height": video.size[0], "width": video.size[1]})
            annotations += _masks_of_frame(video, frame, image["id"], categories)
        write_frames(folder / "data", video)
    content = {
        "info": INFO,
        "images": images,
        "categories": [{"id": number, "name": label} for label, number in categories.items()],
        "annotations": _numbered(annotations),
    }
    _write_json(folder / "labels.json", content)


def _categories(videos: list[VideoMasks]) -> dict[str, int]:
    labels = dict.fromkeys(label for video in videos for label in video.labels)
    return {label: number for number, label in enumerate(labels, start=1)}


def _numbered(annotations) -> list[dict]:
    return [{"id": number, **annotation} for number, annotation in enumerate(annotations, start=1)]


def _video(number: int, video: VideoMasks) -> dict:
    height, width = video.size
    clock = {} if video.fps is None else {"fps": video.fps}
    shape = {"height": height, "width": width, "length": len(video.frame_names)}
    return {"id": number, "name": video.video, **shape, **clock, "file_names": video.file_names()}


def _tracks(number: int, video: VideoMasks, categories: dict[str, int]) -> Iterator[dict]:
    for index, (label, track) in enumerate(zip(video.labels, video.tracks, strict=True)):
        seen = [None if rle is None else box_and_area(rle) for rle in track]
        yield {
            "video_id": number,
            "category_id": categories[label],
            "expression": label,
            "iscrowd": 0,
            "height": video.size[0],
            "width": video.size[1],
            "length": len(track),
            "segmentations": track,
            "bboxes": [pair and pair[0] for pair in seen],
            "areas": [pair and pair[1] for pair in seen],
            **_score(video.mean_score(index)),
        }


def _masks_of_frame(video: VideoMasks, frame: int, image: int, categories: dict[str, int]) -> Iterator[dict]:
    for index, (label, track) in enumerate(zip(video.labels, video.tracks, strict=True)):
        if track[frame] is not None:
            box, area = box_and_area(track[frame])
            yield {
                "image_id": image,
                "category_id": categories[label],
                "track_id": index,
                "segmentation": track[frame],
                "bbox": box,
                "area": area,
                "iscrowd": 0,
                **_score(None if video.scores is None else round(video.scores[index][frame], 6)),
            }


def _score(score: float | None) -> dict:
    return {} if score is None else {"score": score}


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


__all__ = ["write_coco", "write_coco_video"]
