"""How GLEE's training images are changed at random: by the released code's numbers, for Lite and Plus and for Pro."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from .training_image import TrainingImage


ORDINALS = re.compile(
    r"\b(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|\d+(?:st|nd|rd|th))\b", re.IGNORECASE
)
"""What a crop would make wrong: "the second from the left"."""


@dataclass(frozen=True)
class ShortestEdgeAugmentation:
    """Lite and Plus: mirrored or not, then resized by the shorter side; half of the images are cropped before.

    Args:
        short_sides: one of them is the new shorter side, in pixels, unless the longer one would be above `max_long`.
        max_long: most pixels of the longer side.
        crop_short_sides: the same before a crop; none crops the image as it is.
        crop_range: least and most pixels of each side of a crop; an image with less keeps its side.
        crop_probability: none where a text counts objects ("the second dog").
        flip_probability: left and right are swapped in the texts.

    Example:

        >>> image = TrainingImage(np.zeros((240, 320, 3), np.uint8), np.zeros((0, 4)), None, ())
        >>> changed = ShortestEdgeAugmentation(crop_probability=0.0)(image, np.random.default_rng(0))
        >>> min(changed.size) in range(480, 801, 32)
        True
    """

    short_sides: tuple[int, ...] = (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)
    max_long: int = 1333
    crop_short_sides: tuple[int, ...] = (400, 500, 600)
    crop_range: tuple[int, int] = (384, 600)
    crop_probability: float = 0.5
    flip_probability: float = 0.5

    def __call__(self, image: TrainingImage, rng: np.random.Generator) -> TrainingImage:
        """The image changed, by numbers of `rng` alone."""
        image = _mirror(image, rng, self.flip_probability)
        if rng.random() < self.crop_probability and not counts_objects(image.texts):
            if self.crop_short_sides:
                image = _by_shorter_side(image, rng.choice(self.crop_short_sides), None)
            least, most = self.crop_range
            sides = [int(rng.integers(min(side, least), min(side, most), endpoint=True)) for side in image.size]
            image = _crop(image, sides, rng)
        return _by_shorter_side(image, rng.choice(self.short_sides), self.max_long)


@dataclass(frozen=True)
class LargeScaleJitter:
    """Pro: mirrored or not, scaled to a part or a multiple of a square of `size` pixels, then cropped or padded to it.

    Args:
        size: of the square.
        scale: least and most; at most `1` where a text counts objects, so that nothing is cropped.
        fill: value of the padding, before normalisation.
        flip_probability: left and right are swapped in the texts.

    Example:

        >>> image = TrainingImage(np.zeros((240, 320, 3), np.uint8), np.zeros((0, 4)), None, ())
        >>> LargeScaleJitter(size=128)(image, np.random.default_rng(0)).size
        (128, 128)
    """

    size: int = 1536
    scale: tuple[float, float] = (0.1, 2.0)
    fill: int = 128
    flip_probability: float = 0.5

    def __call__(self, image: TrainingImage, rng: np.random.Generator) -> TrainingImage:
        """The image changed, by numbers of `rng` alone."""
        image = _mirror(image, rng, self.flip_probability)
        least, most = self.scale
        factor = rng.uniform(least, min(most, 1.0) if counts_objects(image.texts) else most)
        scale = factor * self.size / max(image.size)
        image = image.resized(*(max(round(side * scale), 1) for side in image.size))
        image = _crop(image, [min(side, self.size) for side in image.size], rng)
        return image.padded(self.size, self.size, self.fill)


SMALL_SIDES = (320, 352, 392, 416, 448, 480, 512, 544, 576, 608, 640)
AUGMENTATIONS = {
    "none": None,
    "shortest_edge": ShortestEdgeAugmentation(),
    "large_scale_jitter": LargeScaleJitter(),
    "clip": ShortestEdgeAugmentation(crop_short_sides=()),
    "small_clip": ShortestEdgeAugmentation(SMALL_SIDES, crop_short_sides=()),
}
"""By the name in a configuration file; the original code has "clip" for OVIS and "small_clip" for YouTube-VIS."""


def counts_objects(texts) -> bool:
    """Whether a text has an ordinal number.

    Example:

        >>> counts_objects(["the second dog"]), counts_objects(["the dog of 2nd rank"]), counts_objects(["seconds"])
        (True, True, False)
    """
    return any(ORDINALS.search(text) for text in texts)


def _mirror(image: TrainingImage, rng: np.random.Generator, probability: float) -> TrainingImage:
    return image.mirrored() if rng.random() < probability else image


def _by_shorter_side(image: TrainingImage, side: int, max_long: int | None) -> TrainingImage:
    scale = side / min(image.size)
    if max_long is not None:
        scale = min(scale, max_long / max(image.size))
    return image.resized(*(max(int(length * scale + 0.5), 1) for length in image.size))


def _crop(image: TrainingImage, sides: list[int], rng: np.random.Generator) -> TrainingImage:
    start = [int(rng.integers(whole - part, endpoint=True)) for whole, part in zip(image.size, sides, strict=True)]
    return image.cropped(*start, *sides)


__all__ = ["AUGMENTATIONS", "LargeScaleJitter", "ShortestEdgeAugmentation", "counts_objects"]
