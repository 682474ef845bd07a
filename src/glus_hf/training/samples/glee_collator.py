"""From training samples of videos to batches of images with a sentence each, for GLEE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...errors import UserError
from ...models.glee.targets_glee import image_targets


if TYPE_CHECKING:
    from ...models.glee.processing_glee import GLEEProcessor


class GLEECollator:
    """Turns samples of [`ReferringVideoDataset`] or [`MixtureDataset`] into a batch for [`GLEEForVideoSegmentation`].

    Every pair of a query frame and an expression is an image of its own. All objects of an expression are one target;
    where none is visible, the image has no target. Make the datasets with `num_context_frames=0`.

    Args:
        processor: of the model.

    Example:

        >>> loader = DataLoader(dataset, batch_size=2, collate_fn=GLEECollator(processor))  # doctest: +SKIP
        >>> loss = model(**next(iter(loader))).loss  # doctest: +SKIP
    """

    def __init__(self, processor: GLEEProcessor):
        self.processor = processor

    def __call__(self, samples: Sequence[dict]) -> dict:
        """Samples to the keyword arguments of the model: `pixel_values`, `input_ids`, `attention_mask`, `task`,
        `labels`.

        Raises:
            UserError: a sample whose number of frames is not that of its masks; one line.
        """
        triples = [triple for sample in samples for triple in _images(sample)]
        frames, texts, masks = zip(*triples, strict=True)
        images = self.processor.image_processor(list(frames))
        cleaned = [self.processor.clean_expression(text) for text in texts]
        padded = tuple(images.pixel_values.shape[-2:])
        labels = [
            image_targets(torch.from_numpy(mask > 0)[None], torch.zeros(1, dtype=torch.long), resized, padded)
            for mask, resized in zip(masks, images.resized_sizes, strict=True)
        ]
        tokens = self.processor.tokenize(cleaned)
        return {"pixel_values": images.pixel_values, **tokens, "task": "referring", "labels": labels}


def _images(sample: dict):
    """Frame, expression and mask of every image of a sample; masks that tell objects apart are joined."""
    masks = [np.asarray(each).any(0) if np.asarray(each).ndim == 4 else np.asarray(each) for each in sample["masks"]]
    if any(len(mask) != len(sample["frames"]) for mask in masks):
        counts = f"{len(sample['frames'])} frames but {len(masks[0])} masks"
        raise UserError(f"a sample has {counts} of an expression; make the dataset with num_context_frames=0")
    for text, mask in zip(sample["expressions"], masks, strict=True):
        yield from ((frame, text, each) for frame, each in zip(sample["frames"], mask, strict=True))


__all__ = ["GLEECollator"]
