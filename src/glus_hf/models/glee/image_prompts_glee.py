"""Points, boxes and masks of objects in images, as the masks that GLEE reads prompts from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import UserError


POINT_PART = 40  # a point is a rectangle that reaches this part of the image to every side
POSITIVE = 1


def prompt_inputs(
    originals: Sequence[tuple[int, int]],
    resized: Sequence[tuple[int, int]],
    padded: tuple[int, int],
    input_points=None,
    input_labels=None,
    input_boxes=None,
    segmentation_maps=None,
    is_scribble: bool = False,
) -> dict:
    """Prompts of a batch of images, each for one object.

    Args:
        originals, resized: (height, width) of each image, its own and in the batch.
        padded: (height, width) of the batch.
        input_points: x and y in pixels of the image, `[images, objects, points, 2]`; lists may differ in length.
        input_labels: 1 for each point; 0, a place that is not the object, is refused.
        input_boxes: x0, y0, x1, y1, `[images, objects, 4]`.
        segmentation_maps: of each image `[height, width]` or `[objects, height, width]`, true on the object.
        is_scribble: the maps are lines on the objects, not the objects.

    Returns:
        `prompt_masks [prompts, height, width]` of bool, `prompt_kinds`, a name per prompt, and `prompt_images
        [prompts]`, the image of each.

    Raises:
        UserError: not one kind of prompt for all images, a prompt outside its image, or a negative point; one line.
    """
    given = {"input_points": input_points, "input_boxes": input_boxes, "segmentation_maps": segmentation_maps}
    given = {name: values for name, values in given.items() if values is not None}
    if len(given) != 1:
        raise UserError(
            f"pass one of input_points, input_boxes and segmentation_maps, got {', '.join(given) or 'none'}"
        )
    ((name, prompts),) = given.items()
    _check_labels(input_labels)
    if len(prompts) != len(originals):
        raise UserError(f"there are {len(originals)} images but {name} of {len(prompts)}; pass one list per image")
    masks, kinds, images = [], [], []
    for image, (objects, *sizes) in enumerate(zip(prompts, originals, resized, strict=True)):
        for each in _objects(name, objects):
            mask, kind = _draw(name, each, *sizes, is_scribble)
            if not mask.any():
                raise UserError(
                    f"{name}: a prompt of image {image} marks nothing inside it; give pixels of that image"
                )
            masks.append(F.pad(mask, (0, padded[1] - mask.shape[1], 0, padded[0] - mask.shape[0])))
            kinds.append(kind)
            images.append(image)
    if not masks:
        raise UserError(f"{name} has no prompts; pass one or more")
    return {"prompt_masks": torch.stack(masks), "prompt_kinds": kinds, "prompt_images": torch.tensor(images)}


def _check_labels(labels) -> None:
    flat = [] if labels is None else torch.as_tensor(_flat(labels)).tolist()
    if any(label != POSITIVE for label in flat):
        raise UserError("input_labels: GLEE reads points on the object alone; pass 1 for every point")


def _flat(values) -> list:
    if isinstance(values, torch.Tensor):
        return values.flatten().tolist()
    return [each for value in values for each in _flat(value)] if hasattr(values, "__len__") else [values]


def _objects(name: str, objects) -> list:
    if name != "segmentation_maps":
        return list(objects)
    maps = torch.as_tensor(objects if isinstance(objects, Tensor) else np.asarray(objects))
    return list(maps if maps.ndim == 3 else maps[None])


def _draw(name: str, prompt, original: tuple, resized: tuple, is_scribble: bool) -> tuple[Tensor, str]:
    scale = resized[1] / original[1], resized[0] / original[0]
    if name == "segmentation_maps":
        return _resize(prompt, original, resized, is_scribble), "scribble" if is_scribble else "mask"
    numbers = torch.as_tensor(prompt, dtype=torch.float64)
    if not numbers.isfinite().all():
        raise UserError(f"{name} must be finite numbers of pixels")
    mask = torch.zeros(resized, dtype=torch.bool)
    if name == "input_boxes":
        x0, y0, x1, y1 = (value * scale[axis % 2] for axis, value in enumerate(numbers.tolist()))
        mask[max(math.floor(y0), 0) : max(math.ceil(y1), 0), max(math.floor(x0), 0) : max(math.ceil(x1), 0)] = True
        return mask, "box"
    for x, y in numbers.view(-1, 2).tolist():
        if 0 <= x < original[1] and 0 <= y < original[0]:
            mask |= _point(round(x * scale[0]), round(y * scale[1]), resized)
    return mask, "point" if len(numbers.view(-1, 2)) == 1 else "scribble"


def _point(x: int, y: int, size: tuple[int, int]) -> Tensor:
    mask = torch.zeros(size, dtype=torch.bool)
    down, right = (max(side // POINT_PART, 1) for side in size)
    mask[max(y - down, 0) : y + down, max(x - right, 0) : x + right] = True
    return mask


def _resize(mask, original: tuple, resized: tuple, is_scribble: bool) -> Tensor:
    """Thin lines, and objects of less than a pixel, do not vanish."""
    mask = torch.as_tensor(mask).float() > 0
    if tuple(mask.shape) != tuple(original):
        raise UserError(f"a segmentation map has the size {list(mask.shape)}, its image {list(original)}")
    values = mask[None, None].float()
    scaled = F.interpolate(values, resized, mode="bilinear", align_corners=False)[0, 0] >= 0.5
    return F.adaptive_max_pool2d(values, resized)[0, 0] > 0 if is_scribble or not scaled.any() else scaled


__all__ = ["prompt_inputs"]
