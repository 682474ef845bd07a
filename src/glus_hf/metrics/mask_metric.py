"""What the `evaluate` modules share: masks go into the metric's Arrow file as run lengths."""

from __future__ import annotations

from collections.abc import Iterable

import datasets
import evaluate
import numpy as np

from ..media.rle import decode_rle, encode_rle


RLE = {"size": datasets.List(datasets.Value("int32")), "counts": datasets.Value("string")}
"""One mask as it is stored."""
CLIP = datasets.List(RLE)
"""The masks of one expression, one per frame."""


class MaskMetric(evaluate.Metric):
    """A metric whose inputs are masks, as boolean arrays or COCO run-length dicts.

    A subclass describes its inputs with [`RLE`] or [`CLIP`] features; `add` and `add_batch` bring masks into that
    form, and [`clip_masks`] or [`stored_mask`] turns them back.
    """

    def add(self, *, prediction=None, reference=None, **kwargs):
        """Add one example, see `evaluate.Metric.add`."""
        inputs = {"predictions": prediction, "references": reference, **kwargs}
        self.add_batch(**{name: [value] for name, value in inputs.items()})

    def add_batch(self, *, predictions=None, references=None, **kwargs):
        """Add several examples, see `evaluate.Metric.add_batch`."""
        inputs = {"predictions": predictions, "references": references, **kwargs}
        if not all(len(values) for values in inputs.values()):
            raise ValueError("there is nothing to score: a batch without masks")
        super().add_batch(**{name: [to_stored(value) for value in values] for name, values in inputs.items()})


def to_stored(value):
    """A mask or a clip (an array or tensor, a run-length dict, None, or a list of those) as it is stored.

    `evaluate` does not accept None inside of an input, so an empty mask of unknown size has an empty `size`.

    Example:
        >>> to_stored([None, np.ones((1, 2), dtype=bool)])
        [{'size': [], 'counts': ''}, {'size': [1, 2], 'counts': '02'}]
    """
    if value is None:
        return {"size": [], "counts": ""}
    if hasattr(value, "__array__"):  # NumPy's, or a tensor on the CPU
        value = np.asarray(value)
        return [encode_rle(mask) for mask in value] if value.ndim == 3 else encode_rle(value)
    if isinstance(value, (list, tuple)):
        return [to_stored(item) for item in value]
    return value


def stored_size(masks: Iterable[dict]) -> tuple[int, int]:
    """The first known `(height, width)`; `(1, 1)` where all masks are empty and none has a size."""
    return next((tuple(mask["size"]) for mask in masks if mask["size"]), (1, 1))


def stored_mask(mask: dict, size: tuple[int, int]) -> np.ndarray:
    """Turn what [`to_stored`] made into `[height, width]` bool.

    Example:
        >>> stored_mask(to_stored(None), (2, 3)).shape
        (2, 3)
    """
    return decode_rle(mask if mask["size"] else None, size)


def clip_masks(*clips: Iterable[dict]) -> list[np.ndarray]:
    """Turn the stored clips of one example into `[frames, height, width]` bool arrays of one shape.

    Raises:
        ValueError: the clips have different lengths or sizes, or no frame.

    Example:
        >>> clips = to_stored([None, {"size": [2, 3], "counts": "06"}]), to_stored([None, None])
        >>> [masks.shape for masks in clip_masks(*clips)]
        [(2, 2, 3), (2, 2, 3)]
    """
    clips = [list(clip) for clip in clips]
    lengths = [len(clip) for clip in clips]
    if len(set(lengths)) != 1 or not lengths[0]:
        raise ValueError(f"all clips of an expression need the same frames, got {' and '.join(map(str, lengths))}")
    size = stored_size(mask for clip in clips for mask in clip)
    return [np.stack([stored_mask(mask, size) for mask in clip]) for clip in clips]
