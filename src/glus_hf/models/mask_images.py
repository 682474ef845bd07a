"""Frames as the mask branch of the GLUS recipe sees them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..media.images import as_rgb_arrays


def mask_images(images, size: tuple[int, int], mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Whole images, scaled to 0..1, resized (bilinear with antialiasing, in float, aspect ratio not kept), normalized.

    Args:
        images: `uint8 [height, width, 3]` each, or what `as_rgb_arrays` takes.
        size: height and width of the result.
        mean, std: per RGB channel.

    Returns:
        `float32 [n, 3, *size]`.

    Example:

        >>> mask_images([np.zeros((4, 6, 3), np.uint8)], (8, 8), [0.5] * 3, [0.5] * 3).shape
        torch.Size([1, 3, 8, 8])
    """
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (mean, std))
    resized = []
    for image in as_rgb_arrays(images):
        channels = torch.from_numpy(image).permute(2, 0, 1)[:, None, None]
        resized.append(torch.cat([_resize(channel, size) for channel in channels], 1))
    return (torch.cat(resized) - mean) / std


def _resize(channel: Tensor, size: tuple[int, int]) -> Tensor:
    """One channel `[1, 1, height, width]` in 0..1: an image of 50 million pixels takes 600 MB as a whole."""
    values = channel.float().div_(255)
    return F.interpolate(values, size, mode="bilinear", align_corners=False, antialias=True)


__all__ = ["mask_images"]
