"""YOLO segmentation labels: one polygon per object and frame."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import yaml

from .video_masks import VideoMasks, write_frames


INSIDE = 0.25  # of a pixel: readers that cut and readers that round both come back to it


def write_yolo(folder: Path, videos: list[VideoMasks]) -> None:
    """`labels/train/<video>/<frame>.txt`, `data.yaml` with the expressions as classes, frames in `images/train`.

    A line is `class x1 y1 x2 y2 ...` in 0..1, the pixels of the outline. An object in several parts or
    with holes becomes one polygon: its outlines, joined by lines there and back; see [`mask_to_polygon`].
    """
    classes = {label: None for video in videos for label in video.labels}
    numbers = {label: number for number, label in enumerate(classes)}
    for video in videos:
        for frame, name in enumerate(video.frame_names):
            lines = [
                _line(numbers[label], video.mask(index, frame))
                for index, label in enumerate(video.labels)
                if video.tracks[index][frame] is not None
            ]
            file = folder / "labels" / "train" / video.video / f"{name}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(lines))
        write_frames(folder / "images" / "train", video)
    settings = {"train": "images/train", "val": "images/train", "names": dict(enumerate(classes))}
    (folder / "data.yaml").write_text(yaml.safe_dump(settings, allow_unicode=True, sort_keys=False), "utf-8")


def _line(number: int, mask: np.ndarray) -> str:
    centres = (mask_to_polygon(mask) + INSIDE) / (mask.shape[1], mask.shape[0])
    return f"{number} {' '.join(f'{value:.7f}' for value in centres.ravel())}\n"


def mask_to_polygon(mask: np.ndarray) -> np.ndarray:
    """One polygon of a mask `[height, width]` bool that is not empty: `[points, 2]` int32, x and y of pixels.

    Filled with OpenCV (outline included), it gives the mask back, but for a line of one pixel between the parts of an
    object in several parts.

    Example:
        >>> mask_to_polygon(np.pad(np.ones((2, 3), dtype=bool), 1)).tolist()
        [[1, 1], [1, 2], [3, 2], [3, 1]]
    """
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    outlines = sorted((contour[:, 0] for contour in contours), key=lambda points: -cv2.contourArea(points))
    polygon = outlines[0]
    for outline in outlines[1:]:
        polygon = _join(polygon, outline)
    repeated = max(0, 3 - len(polygon))  # one or two pixels have no area
    return np.concatenate([polygon, np.repeat(polygon[-1:], repeated, axis=0)])


def _join(polygon: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """The polygon with a way to the outline, around it and back, at the nearest points."""
    from scipy.spatial import KDTree  # slow to import

    distances, nearest = KDTree(polygon).query(outline)
    there = int(np.argmin(distances))
    here = int(nearest[there])
    around = np.concatenate([outline[there:], outline[: there + 1]])
    return np.concatenate([polygon[: here + 1], around, polygon[here:]])


__all__ = ["mask_to_polygon", "write_yolo"]
