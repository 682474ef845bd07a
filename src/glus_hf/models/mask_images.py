"""Frames as the mask branch of the GLUS recipe sees them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import UserError
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


def check_statistics(mean, std) -> tuple[list[float], list[float]]:
    """Mean and deviation of images as the settings of a processor have them.

    Raises:
        UserError: not three finite numbers each, or a deviation of 0: masks would be of no numbers; one line.

    Example:

        >>> check_statistics((0.5, 0.5, 0.5), [1, 1, 1])
        ([0.5, 0.5, 0.5], [1.0, 1.0, 1.0])
    """
    mean, std = _three("mask_image_mean", mean), _three("mask_image_std", std)
    if 0 in std:
        raise UserError(f"mask_image_std is {std}; it must have no 0")
    return mean, std


def _three(name: str, values) -> list[float]:
    is_list = isinstance(values, (list, tuple)) and all(type(value) in (int, float) for value in values)
    if not is_list or len(values) != 3 or not all(map(math.isfinite, values)):
        raise UserError(f"{name} has one value per colour, got {values!r:.80}: pass 3 finite numbers")
    return [float(value) for value in values]


def _resize(channel: Tensor, size: tuple[int, int]) -> Tensor:
    """One channel `[1, 1, height, width]` in 0..1: an image of 50 million pixels takes 600 MB as a whole."""
    values = channel.float().div_(255)
    return F.interpolate(values, size, mode="bilinear", align_corners=False, antialias=True)


__all__ = ["check_statistics", "mask_images"]
