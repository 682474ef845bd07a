"""DAVIS' palette PNG: a pixel is the number of its object."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from transformers.utils import logging

from ...errors import UserError
from ..id_png import save_id_png
from .video_masks import VideoMasks, write_frames


logger = logging.get_logger(__name__)

MAX_OBJECTS = 254  # 255 is "void"
EXPRESSIONS = "expressions.json"


def write_davis(folder: Path, videos: list[VideoMasks]) -> None:
    """`Annotations/<video>/<frame>.png`, whose pixels are 0 or the number of an expression, from 1; and
    `expressions.json`, `{video: {number: expression}}`.

    A pixel has one number: where masks share pixels, those of the smaller mask stay, and a warning counts the others.

    Raises:
        UserError: a video has more than 254 expressions.
    """
    texts = {}
    for video in videos:
        if len(video.labels) > MAX_OBJECTS:
            raise UserError(
                f"{video.video}: davis holds {MAX_OBJECTS} expressions per video, not {len(video.labels)}; use "
                "another format"
            )
        texts[video.video] = {str(number): label for number, label in enumerate(video.labels, start=1)}
        _write_video(folder / "Annotations" / video.video, video)
        write_frames(folder / "JPEGImages", video)
    (folder / EXPRESSIONS).write_text(json.dumps(texts, ensure_ascii=False, indent=1), encoding="utf-8")


def _write_video(folder: Path, video: VideoMasks) -> None:
    folder.mkdir(parents=True)
    shared, first = 0, None
    for frame, name in enumerate(video.frame_names):
        ids, lost = number_pixels(np.stack([video.mask(index, frame) for index in range(len(video.labels))]))
        if lost and first is None:
            first = name
        shared += lost
        save_id_png(folder / f"{name}.png", ids)
    if shared:
        logger.warning(
            f"davis: {video.video}: {shared} pixels are in several masks (first in frame {first}) and went to the "
            "smallest; coco-video, rle-jsonl and png keep them all"
        )


def number_pixels(masks: np.ndarray) -> tuple[np.ndarray, int]:
    """`[height, width]` uint8 with the number of a mask, from 1, or 0; and how many pixels are in several.

    Example:
        >>> number_pixels(np.array([[[True, True]], [[False, True]]]))
        (array([[1, 2]], dtype=uint8), 1)
    """
    ids = np.zeros(masks.shape[1:], dtype=np.uint8)
    for index in np.argsort(-masks.sum(axis=(1, 2)), kind="stable"):  # smaller ones over larger ones
        ids[masks[index]] = index + 1
    return ids, int((masks.sum(axis=0) > 1).sum())


__all__ = ["EXPRESSIONS", "MAX_OBJECTS", "number_pixels", "write_davis"]
