"""Frames: from whatever the caller has to arrays, and from arrays to CLIP's view of them."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch


def clip_view(image_processor, images) -> torch.Tensor:
    """CLIP's view of N images, `float32 [N, 3, crop, crop]`: shortest edge resized, centre cropped, normalised.

    The left and right ends of a wide video are cut off, as upstream does.
    """
    images = as_rgb_arrays(images)
    return image_processor.preprocess(images, input_data_format="channels_last", return_tensors="pt").pixel_values


def load_frames(video) -> Sequence[np.ndarray]:
    """Frames of anything the package's video reader takes; without the package, of a sequence of images.

    Raises:
        `ValueError`: no frames, or of different sizes.
    """
    try:
        from glus_hf.data.video import load_video
    except ImportError:
        if isinstance(video, (str, os.PathLike)):
            raise ValueError("reading a video file needs glus_hf and av; install them or pass frames") from None
        frames = getattr(video, "frames", None) or as_rgb_arrays(video)
    else:
        frames = load_video(video).frames
    if len(frames) == 0:
        raise ValueError("the video has no frames")
    if any(frame.shape != frames[0].shape for frame in frames):
        raise ValueError("all frames of a video must have the same size")
    return frames


def as_rgb_arrays(images) -> list[np.ndarray]:
    """One image or a sequence of images as a list of contiguous `uint8 [height, width, 3]` arrays."""
    if hasattr(images, "convert") or getattr(images, "ndim", 4) == 3:
        images = [images]
    arrays = [_as_rgb_array(image) for image in images]
    if not arrays:
        raise ValueError("no images given")
    return arrays


def _as_rgb_array(image) -> np.ndarray:
    """One image (PIL, numpy, torch; channels first or last) as a contiguous `uint8 [height, width, 3]` array."""
    if hasattr(image, "convert"):
        image = image.convert("RGB")
    array = image.cpu().numpy() if isinstance(image, torch.Tensor) else np.asarray(image)
    if array.ndim == 3 and array.shape[2] != 3 and array.shape[0] == 3:
        array = array.transpose(1, 2, 0)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or array.size == 0:
        raise ValueError(f"an image must be uint8 RGB [height, width, 3], got {array.dtype} {list(array.shape)}")
    # torch.from_numpy warns on read-only memory (PIL's) and refuses negative strides
    return array if array.flags.writeable and array.flags.c_contiguous else array.copy()


__all__ = ["as_rgb_arrays", "clip_view", "load_frames"]
