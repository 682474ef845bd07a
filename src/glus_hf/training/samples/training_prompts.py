"""Visual prompts of training: one object of each image, or clip, and a mask, a point or a box that means it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ...data.objects.object_schema import ANYTHING
from ...models.glee.image_prompts_glee import prompt_inputs
from .training_image import TrainingImage


IMAGE_KINDS = {"mask": 0.6, "point": 0.32, "box": 0.08}
CLIP_KINDS = {"mask": 0.9, "point": 0.095, "box": 0.005}
"""How often each kind is drawn; of the original code."""


def choose_objects(
    groups: Sequence[Sequence[TrainingImage]], rng: np.random.Generator
) -> list[list[TrainingImage]] | None:
    """Groups of frames with one object each, at random one of those that the first frame shows, called "object"; None
    where a group has none, or no masks."""
    chosen = []
    for frames in groups:
        first = frames[0]
        shown = [] if first.masks is None else np.flatnonzero(first.masks.any((1, 2)))
        if len(shown) == 0:
            return None
        object_id = first.object_ids[int(rng.choice(shown))]
        chosen.append([frame.only(object_id, ANYTHING) for frame in frames])
    return chosen


def prompts_of(
    images: Sequence[TrainingImage], resized: Sequence[tuple], padded: tuple, is_clip: bool, rng: np.random.Generator
) -> dict:
    """A prompt for the one object of each image: `prompt_masks` and `prompt_kinds` of the model.

    Args:
        images: the first frame of each clip, or single images, with one object each.
        resized, padded: (height, width) of each image in the batch, and of the batch.
        is_clip: how often a kind is drawn differs.
    """
    kinds = CLIP_KINDS if is_clip else IMAGE_KINDS
    found = []
    for image, size in zip(images, resized, strict=True):
        kind = str(rng.choice(list(kinds), p=list(kinds.values())))
        found.append(prompt_inputs([image.size], [size], padded, **_prompt(image.masks[0], kind, rng)))
    masks = torch.cat([each["prompt_masks"] for each in found])
    return {"prompt_masks": masks, "prompt_kinds": [kind for each in found for kind in each["prompt_kinds"]]}


def _prompt(mask: np.ndarray, kind: str, rng: np.random.Generator) -> dict:
    rows, columns = np.nonzero(mask)
    if kind == "mask":
        return {"segmentation_maps": [np.ascontiguousarray(mask)]}
    if kind == "box":
        return {"input_boxes": [[[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]]}
    at = int(rng.integers(len(rows)))
    return {"input_points": [[[[float(columns[at]), float(rows[at])]]]]}


__all__ = ["choose_objects", "prompts_of"]
