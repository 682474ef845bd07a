"""An image with its objects, and what augmentation does to both: mirror, resize, crop, pad."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from PIL import Image


SIDES = re.compile(r"\b(left|right)(?=(?:most|wards?|hand(?:ed)?)?\b)", re.IGNORECASE)


@dataclass(frozen=True)
class TrainingImage:
    """What a model learns from one image.

    Args:
        pixels: `[height, width, 3]`, uint8 RGB.
        boxes: `[n, 4]`, x0, y0, x1, y1 in pixels.
        masks: `[n, height, width]`, bool; None where only boxes are known.
        labels: what each object is called; of an expression, n times the expression.
        expression: what all objects belong to; None where `labels` are names.
        vocabulary: names that the image was searched for: those that no object has are not there.
        num_names: how many of them a batch takes at least; None for all.
        is_free_text: labels are descriptions, which may speak of left and right.
        object_ids: of each object, the same on all frames of a clip; None of single images.
        prompt_part: share of batches in which one object of each image, or clip, is meant by a visual prompt.
    """

    pixels: np.ndarray
    boxes: np.ndarray
    masks: np.ndarray | None
    labels: tuple[str, ...]
    expression: str | None = None
    vocabulary: Sequence[str] = ()
    num_names: int | None = None
    is_free_text: bool = False
    object_ids: tuple[int, ...] | None = None
    prompt_part: float = 0.0

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[:2]

    @property
    def texts(self) -> tuple[str, ...]:
        """All that is said about places in the image."""
        return self.labels if self.expression is None else (self.expression,)

    def only(self, object_id: int, label: str) -> TrainingImage:
        """The image with one of its objects alone, if it is there, called `label`.

        Example:

            >>> image = TrainingImage(np.zeros((4, 4, 3), np.uint8), np.zeros((2, 4)), None, ("dog", "cat"))
            >>> replace(image, object_ids=(5, 7)).only(7, "object").labels
            ('object',)
        """
        kept = [index for index, each in enumerate(self.object_ids) if each == object_id]
        masks = None if self.masks is None else self.masks[kept]
        names = {"labels": (label,) * len(kept), "vocabulary": (label,), "num_names": None, "is_free_text": False}
        return replace(self, boxes=self.boxes[kept], masks=masks, object_ids=(object_id,) * len(kept), **names)

    def mirrored(self) -> TrainingImage:
        """Left becomes right, in the text too."""
        width, swap = self.size[1], self.is_free_text or self.expression is not None
        return replace(
            self,
            pixels=np.ascontiguousarray(self.pixels[:, ::-1]),
            boxes=np.stack(
                [width - self.boxes[:, 2], self.boxes[:, 1], width - self.boxes[:, 0], self.boxes[:, 3]], 1
            ),
            masks=None if self.masks is None else self.masks[:, :, ::-1],
            labels=tuple(map(swap_sides, self.labels)) if swap else self.labels,
            expression=None if self.expression is None else swap_sides(self.expression),
        )

    def resized(self, height: int, width: int) -> TrainingImage:
        """Bilinear; a mask is where its interpolation is more than a half."""
        if (height, width) == self.size:
            return self
        scale = np.array([width / self.size[1], height / self.size[0]] * 2, dtype=np.float32)
        image = Image.fromarray(self.pixels).resize((width, height), Image.Resampling.BILINEAR)
        masks = self.masks
        if masks is not None:
            large = [cv2.resize(mask.astype(np.float32), (width, height)) > 0.5 for mask in masks]
            masks = np.stack(large) if large else np.zeros((0, height, width), bool)
        return replace(self, pixels=np.array(image), boxes=self.boxes * scale, masks=masks)

    def cropped(self, top: int, left: int, height: int, width: int) -> TrainingImage:
        """A window; boxes end at it. Objects outside keep their place in the list, without an area."""
        window = np.s_[top : top + height, left : left + width]
        limits = np.array([width, height] * 2, dtype=np.float32)
        boxes = (self.boxes - np.array([left, top] * 2, dtype=np.float32)).clip(0, limits)
        masks = None if self.masks is None else self.masks[:, *window]
        return replace(self, pixels=np.ascontiguousarray(self.pixels[window]), boxes=boxes, masks=masks)

    def padded(self, height: int, width: int, fill: int) -> TrainingImage:
        """More rows below and columns on the right."""
        more = ((0, height - self.size[0]), (0, width - self.size[1]))
        masks = None if self.masks is None else np.pad(self.masks, ((0, 0), *more))
        return replace(self, pixels=np.pad(self.pixels, (*more, (0, 0)), constant_values=fill), masks=masks)


def swap_sides(text: str) -> str:
    """A text about an image, about its mirror image.

    Example:

        >>> swap_sides("the bright dog on the left of the rightmost cat")
        'the bright dog on the right of the leftmost cat'
    """
    return SIDES.sub(lambda match: _like(match[0], "right" if match[0].lower() == "left" else "left"), text)


def _like(model: str, word: str) -> str:
    if model.isupper():
        return word.upper()
    return word.capitalize() if model[0].isupper() else word


__all__ = ["TrainingImage", "swap_sides"]
