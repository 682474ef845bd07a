"""What every format is written from: the masks of some expressions in one video, as run lengths."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from ...errors import UserError
from ...media.rle import Track, decode_rle, encode_rle


FRAME_SUFFIX = ".jpg"


@dataclass(frozen=True)
class VideoMasks:
    """Masks of n expressions in a video of T frames.

    Attributes:
        video: name of the video; becomes a folder, may hold `/`.
        frame_names: T stems in order.
        size: `(height, width)` in pixels.
        labels: n expressions.
        tracks: n lists of T COCO run lengths, None where the expression has no pixel.
        ids: n names of the expressions, by default `"0"`, `"1"`, ...
        scores: n lists of T numbers in 0..1; None where nobody knows.
        fps: frames per second; None where nobody knows.
        frames: T frames `[height, width, 3]` uint8, or T image files, to be exported with the masks; or None. May be
            an iterable that decodes them anew each time.
        suffix: of the frames' files.
    """

    video: str
    frame_names: list[str]
    size: tuple[int, int]
    labels: list[str]
    tracks: list[Track]
    ids: list[str] = field(default_factory=list)
    scores: list[list[float]] | None = None
    fps: float | None = None
    frames: Iterable[np.ndarray | Path] | None = None
    suffix: str = FRAME_SUFFIX

    def __post_init__(self):
        if not self.ids:
            object.__setattr__(self, "ids", [str(index) for index in range(len(self.labels))])

    def mask(self, index: int, frame: int) -> np.ndarray:
        """`[height, width]` bool: the mask of an expression in a frame."""
        return decode_rle(self.tracks[index][frame], self.size)

    def file_names(self) -> list[str]:
        """`<video>/<frame>.jpg` of every frame, or with the suffix of the video's images."""
        return [f"{self.video}/{name}{self.suffix}" for name in self.frame_names]

    def mean_score(self, index: int) -> float | None:
        """Of an expression, over all frames."""
        return None if self.scores is None else round(float(np.mean(self.scores[index])), 6)


def masks_of_results(
    results: Mapping | Sequence[Mapping],
    video: str = "video",
    frame_names: Sequence[str] | None = None,
    fps: float | None = None,
    frames: Sequence[np.ndarray] | None = None,
) -> VideoMasks:
    """Results of the pipeline for one video, ready to be exported.

    Args:
        results: one result, or the list for several expressions: `label`, `masks` `[T, height, width]` bool, `scores`.
        video: name of the video.
        frame_names: T stems; by default `"00000"`, `"00001"`, ...
        fps: frames per second, or None.
        frames: T frames `[height, width, 3]` uint8, if they are to be exported too.

    Raises:
        UserError: there is no result, or the results are of different videos.

    Example:
        >>> result = {"label": "a dog", "masks": np.ones((2, 4, 6), dtype=bool), "scores": np.ones(2)}
        >>> masks_of_results(result).frame_names
        ['00000', '00001']
    """
    results = [results] if isinstance(results, Mapping) else list(results)
    shapes = {result["masks"].shape for result in results}
    if len(shapes) != 1:
        raise UserError(f"results of one video must have one shape of masks, got {sorted(shapes)}")
    num_frames, height, width = shapes.pop()
    names = [f"{index:05d}" for index in range(num_frames)] if frame_names is None else list(frame_names)
    if len(names) != num_frames:
        raise UserError(f"there are {num_frames} frames but {len(names)} names: give one per frame")
    return VideoMasks(
        video,
        names,
        (height, width),
        [result["label"] for result in results],
        [encode_track(result["masks"]) for result in results],
        scores=[[float(score) for score in result["scores"]] for result in results],
        fps=fps,
        frames=frames,
    )


def encode_track(masks: np.ndarray) -> Track:
    """Run lengths of `[T, height, width]` bool masks, an array or of `output="file"`; None where one is empty.

    Example:
        >>> encode_track(np.zeros((2, 4, 6), dtype=bool))
        [None, None]
    """
    if hasattr(masks, "rle"):  # has them
        return [masks.rle(index) for index in range(len(masks))]
    return [encode_rle(mask) if mask.any() else None for mask in masks]


def box_and_area(rle: dict) -> tuple[list[float], int]:
    """`[left, top, width, height]` and the number of pixels, of a mask that is not empty.

    Example:
        >>> box_and_area(encode_rle(np.ones((4, 6), dtype=bool)))
        ([0.0, 0.0, 6.0, 4.0], 24)
    """
    runs = {"size": rle["size"], "counts": rle["counts"].encode("ascii")}
    return [float(value) for value in coco_mask.toBbox(runs)], int(coco_mask.area(runs))


def write_frames(folder: Path, video: VideoMasks) -> None:
    """Write the frames as `<folder>/<video>/<frame>.jpg`, image files as they are; nothing if there are none."""
    if video.frames is None:
        return
    for frame, name in zip(video.frames, video.file_names(), strict=True):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(frame, Path):
            shutil.copyfile(frame, target)
        else:
            Image.fromarray(frame).save(target, quality=95)


__all__ = ["FRAME_SUFFIX", "VideoMasks", "box_and_area", "encode_track", "masks_of_results", "write_frames"]
