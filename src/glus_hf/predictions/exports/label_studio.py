"""Label Studio: tasks with boxes for the video tag, and tasks with brush masks, one per frame."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from .video_masks import VideoMasks, box_and_area, write_frames


LOCAL_FILES = "/data/local-files/?d="
DEFAULT_FPS = 25.0
RUN_BITS = (3, 4, 8, 16)


def write_label_studio(folder: Path, videos: list[VideoMasks]) -> None:
    """`video_tasks.json` with boxes and `frame_tasks.json` with masks, as predictions; `video_config.xml` and
    `frame_config.xml`, the labelling interfaces for them; frames in `images/`.

    Addresses are those of local files of Label Studio, relative to its document root.
    """
    labels = list(dict.fromkeys(label for video in videos for label in video.labels))
    _write_json(folder / "video_tasks.json", [_video_task(video) for video in videos])
    _write_json(
        folder / "frame_tasks.json",
        [_frame_task(video, frame) for video in videos for frame in range(len(video.frame_names))],
    )
    _write_config(folder / "video_config.xml", "Video", "video", "VideoRectangle", "Labels", labels)
    _write_config(folder / "frame_config.xml", "Image", "image", None, "BrushLabels", labels)
    for video in videos:
        write_frames(folder / "images", video)


def _write_json(path: Path, tasks: list[dict]) -> None:
    path.write_text(json.dumps(tasks, ensure_ascii=False), encoding="utf-8")


def _write_config(path: Path, media: str, name: str, shape: str | None, kind: str, labels: list[str]) -> None:
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, media, {"name": name, "value": f"${name}"})
    if shape is not None:
        ElementTree.SubElement(view, shape, {"name": "box", "toName": name})
    choices = ElementTree.SubElement(view, kind, {"name": "label", "toName": name})
    for label in labels:
        ElementTree.SubElement(choices, "Label", {"value": label})
    ElementTree.indent(view)
    path.write_text(ElementTree.tostring(view, encoding="unicode"), encoding="utf-8")


# --- boxes -----------------------------------------------------------------------------------------------------------


def _video_task(video: VideoMasks) -> dict:
    data = {"video": f"{LOCAL_FILES}{video.video}.mp4"}
    return {"data": data, "predictions": [{"model_version": "glus_hf", "result": video_regions(video)}]}


def video_regions(video: VideoMasks, box: str = "box", name: str = "video") -> list[dict]:
    """Boxes of the masks as regions of Label Studio's video tag, one per expression that has a mask.

    Args:
        video: masks.
        box, name: names of the interface's `VideoRectangle` and `Video`.

    Example:
        >>> track = [{"size": [2, 2], "counts": "04"}]
        >>> video_regions(VideoMasks("v", ["0"], (2, 2), ["a dog"], [track]))[0]["value"]["labels"]
        ['a dog']
    """
    return [
        {
            "id": f"object-{index}",
            "from_name": box,
            "to_name": name,
            "type": "videorectangle",
            "value": {
                "framesCount": len(track),
                "duration": len(track) / (video.fps or DEFAULT_FPS),
                "sequence": _boxes(video, track),
                "labels": [label],
            },
        }
        for index, (label, track) in enumerate(zip(video.labels, video.tracks, strict=True))
        if any(track)
    ]


def _boxes(video: VideoMasks, track: list) -> list[dict]:
    """A box in percent per frame, counted from 1; not `enabled` where the object is gone on the next frame."""
    height, width = video.size
    boxes = []
    for frame, rle in enumerate(track):
        if rle is not None:
            (left, top, box_width, box_height), _ = box_and_area(rle)
            boxes.append(
                {
                    "frame": frame + 1,
                    "time": round(frame / (video.fps or DEFAULT_FPS), 6),
                    "enabled": frame + 1 < len(track) and track[frame + 1] is not None,
                    "rotation": 0,
                    "x": 100 * left / width,
                    "y": 100 * top / height,
                    "width": 100 * box_width / width,
                    "height": 100 * box_height / height,
                }
            )
    return boxes


# --- masks -----------------------------------------------------------------------------------------------------------


def _frame_task(video: VideoMasks, frame: int) -> dict:
    found = [
        {
            "id": f"object-{index}",
            "from_name": "label",
            "to_name": "image",
            "type": "brushlabels",
            "original_height": video.size[0],
            "original_width": video.size[1],
            "image_rotation": 0,
            "value": {"format": "rle", "rle": brush_rle(video.mask(index, frame)), "brushlabels": [label]},
        }
        for index, label in enumerate(video.labels)
        if video.tracks[index][frame] is not None
    ]
    data = {"image": f"{LOCAL_FILES}images/{video.file_names()[frame]}", "video": video.video, "frame": frame}
    return {"data": data, "predictions": [{"model_version": "glus_hf", "result": found}]}


def brush_rle(mask: np.ndarray) -> list[int]:
    """A mask `[height, width]` bool as bytes of Label Studio's brush: its pixels as red, green, blue and alpha, 255
    inside, packed by runs.

    The stream of bits starts with the number of values (32 bits), the bits of a value less one (5), and four sizes
    of run lengths less one (4 each). Every run follows as a 1, which of the sizes (2), its length less one,
    its value (8).

    Example:
        >>> brush_rle(np.ones((1, 1), dtype=bool))
        [0, 0, 0, 4, 57, 27, 252, 127, 224]
    """
    flat = np.repeat(mask.ravel(), 4)
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate([[0], changes])
    lengths = np.diff(np.concatenate([starts, [flat.size]]))
    sizes = "".join(f"{bits - 1:04b}" for bits in RUN_BITS)
    runs = "".join(_run_bits(int(length), bool(flat[start])) for start, length in zip(starts, lengths, strict=True))
    bits = f"{flat.size:032b}{7:05b}{sizes}{runs}"
    bits += "0" * (-len(bits) % 8)
    return list(int(bits, 2).to_bytes(len(bits) // 8, "big"))


def _run_bits(length: int, inside: bool) -> str:
    value, text = "1" * 8 if inside else "0" * 8, ""
    longest = 1 << RUN_BITS[-1]
    while length > 0:
        part = min(length, longest)
        size = next(index for index, bits in enumerate(RUN_BITS) if part <= 1 << bits)
        text += f"1{size:02b}{part - 1:0{RUN_BITS[size]}b}{value}"
        length -= part
    return text


__all__ = ["brush_rle", "video_regions", "write_label_studio"]
