"""From training samples of images and videos to batches for GLEE: names for all images, or a sentence each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...errors import UserError
from ...models.glee.targets_glee import box_targets, image_targets
from .resumable_sampler import AUGMENTATION_STREAM, NAME_STREAM
from .training_image import TrainingImage


if TYPE_CHECKING:
    from ...models.glee.processing_glee import GLEEProcessor

Augmentation = Callable[[TrainingImage, np.random.Generator], TrainingImage]


class GLEECollator:
    """Turns samples of [`ReferringVideoDataset`], [`MixtureDataset`] or [`InstanceDataset`] into a batch for
    [`GLEEForVideoSegmentation`].

    Of a video, every pair of a query frame and an expression is an image of its own. All objects of an expression are
    one target; where none is visible, the image has no target. Make these datasets with `num_context_frames=0`.

    Images with names share the names of the batch: those of all objects and, up to the number that the dataset asks
    for, others of its list at random.

    Args:
        processor: of the model.
        augmentation: a [`ShortestEdgeAugmentation`] or [`LargeScaleJitter`], by the numbers of a sample's `key`.
            Without one, images are resized as at inference.

    Example:

        >>> loader = DataLoader(dataset, batch_size=2, collate_fn=GLEECollator(processor))  # doctest: +SKIP
        >>> loss = model(**next(iter(loader))).loss  # doctest: +SKIP
    """

    def __init__(self, processor: GLEEProcessor, augmentation: Augmentation | None = None):
        self.processor, self.augmentation = processor, augmentation

    def __call__(self, samples: Sequence[dict]) -> dict:
        """Samples to the keyword arguments of the model: `pixel_values`, `input_ids`, `attention_mask`, `task`,
        `labels`.

        Raises:
            UserError: a sample whose number of frames is not that of its masks, names and sentences in one batch, or a
                text that the processor refuses; one line.
        """
        images = [image for sample in samples for image in self._images(sample)]
        if len({image.expression is None for image in images}) > 1:
            raise UserError("a batch has names for some images and sentences for others; make batches of one kind")
        batch = self.processor.image_processor([image.pixels for image in images], do_resize=self.augmentation is None)
        padded = tuple(batch.pixel_values.shape[-2:])
        if images[0].expression is None:
            task, texts = "category", self._names(images, samples[0].get("key", ()))
            classes = [[texts.index(label) for label in image.labels] for image in images]
            texts = self.processor.check_names(texts)
        else:
            task, texts = "referring", [self.processor.clean_expression(image.expression) for image in images]
            classes = [[0] * len(image.labels) for image in images]
        labels = [
            _targets(image, torch.tensor(numbers, dtype=torch.long), resized, padded)
            for image, numbers, resized in zip(images, classes, batch.resized_sizes, strict=True)
        ]
        return {"pixel_values": batch.pixel_values, **self.processor.tokenize(texts), "task": task, "labels": labels}

    def _images(self, sample: dict) -> Iterator[TrainingImage]:
        made = [sample["image"]] if "image" in sample else _images_of_video(sample)
        for index, image in enumerate(made):
            if self.augmentation is None:
                yield image
            else:
                key = (AUGMENTATION_STREAM, *sample.get("key", ()), index)
                yield self.augmentation(image, np.random.default_rng(key))

    @staticmethod
    def _names(images: list[TrainingImage], key: tuple[int, ...]) -> list[str]:
        """The names of a batch: those of its objects, then others."""
        present = list(dict.fromkeys(label for image in images for label in image.labels))
        others = sorted({name for image in images for name in image.vocabulary} - set(present))
        counts = [image.num_names for image in images]
        wanted = None if None in counts else max(max(counts) - len(present), 0)
        if wanted is not None and wanted < len(others):
            chosen = np.random.default_rng((NAME_STREAM, *key)).choice(len(others), wanted, replace=False)
            others = [others[index] for index in sorted(chosen)]
        return present + others


def _targets(image: TrainingImage, classes: torch.Tensor, resized: tuple, padded: tuple) -> dict:
    if image.masks is None:
        return box_targets(torch.from_numpy(image.boxes), classes, image.size, resized, padded)
    return image_targets(torch.from_numpy(np.ascontiguousarray(image.masks)), classes, resized, padded)


def _images_of_video(sample: dict) -> Iterator[TrainingImage]:
    """An image for every frame and expression of a sample; masks that tell objects apart are joined."""
    masks = [np.asarray(each).any(0) if np.asarray(each).ndim == 4 else np.asarray(each) for each in sample["masks"]]
    if any(len(mask) != len(sample["frames"]) for mask in masks):
        counts = f"{len(sample['frames'])} frames but {len(masks[0])} masks"
        raise UserError(f"a sample has {counts} of an expression; make the dataset with num_context_frames=0")
    for text, mask in zip(sample["expressions"], masks, strict=True):
        for frame, each in zip(sample["frames"], mask, strict=True):
            boxes = np.zeros((1, 4), np.float32)  # that of the mask counts
            yield TrainingImage(np.asarray(frame), boxes, (each > 0)[None], (text,), text)


__all__ = ["GLEECollator"]
