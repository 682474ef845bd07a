"""From training samples of images and videos to batches for GLEE: names for all images, or an expression each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...errors import UserError
from ...models.glee.targets_glee import box_targets, image_targets
from .resumable_sampler import AUGMENTATION_STREAM, NAME_STREAM, PROMPT_STREAM
from .training_image import TrainingImage
from .training_prompts import choose_objects, prompts_of


if TYPE_CHECKING:
    from ...models.glee.processing_glee import GLEEProcessor

Augmentation = Callable[[TrainingImage, np.random.Generator], TrainingImage]


class GLEECollator:
    """Turns samples of [`ReferringVideoDataset`], [`MixtureDataset`], [`InstanceDataset`] or [`ClipDataset`] into a
    batch for [`GLEEForVideoSegmentation`].

    Of a video, every pair of a query frame and an expression is an image of its own. All objects of an expression are
    one target; where none is visible, the image has no target. Make these datasets with `num_context_frames=0`.

    Images with names share the names of the batch: those of all objects and, up to the number that the dataset asks
    for, others of its list at random. All frames of a clip are augmented alike, and their objects have `instance_ids`.

    Of datasets with prompts, some batches have one object per image, or clip, called "object", and a prompt that means
    it. A batch in which an image, or a clip's first frame, has lost all of its objects has none.

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
        `labels`; of clips `clip_length`; of prompts `prompt_masks` and `prompt_kinds`.

        Raises:
            UserError: a sample whose number of frames is not that of its masks, names and expressions in one batch, or
                a text that the processor refuses; one line.
        """
        groups = [group for sample in samples for group in self._groups(sample)]
        is_clip, key = "clip" in samples[0], samples[0].get("key", ())
        rng = np.random.default_rng((PROMPT_STREAM, *key))
        prompted = choose_objects(groups, rng) if rng.random() < groups[0][0].prompt_part else None
        groups = prompted or groups
        images = [image for group in groups for image in group]
        if len({image.expression is None for image in images}) > 1:
            raise UserError("a batch has names for some images and expressions for others; make batches of one kind")
        batch = self.processor.image_processor([image.pixels for image in images], do_resize=self.augmentation is None)
        padded, resized = tuple(batch.pixel_values.shape[-2:]), batch.resized_sizes
        texts = self._texts(images, key)
        made = {"pixel_values": batch.pixel_values, **texts.inputs, "task": texts.task}
        made["labels"] = [
            _targets(image, torch.tensor(numbers, dtype=torch.long), size, padded, is_clip and not prompted)
            for image, numbers, size in zip(images, texts.classes, resized, strict=True)
        ]
        if is_clip:
            made["clip_length"] = len(groups[0])
        if prompted:
            step = len(groups[0])
            made |= prompts_of(images[::step], resized[::step], padded, is_clip, rng)
        return made

    def _groups(self, sample: dict) -> Iterator[list[TrainingImage]]:
        """Images that belong together: the frames of a clip, else one each."""
        if "clip" in sample:
            yield [self._augmented(image, sample, 0) for image in sample["clip"]]
            return
        made = [sample["image"]] if "image" in sample else _images_of_video(sample)
        for index, image in enumerate(made):
            yield [self._augmented(image, sample, index)]

    def _augmented(self, image: TrainingImage, sample: dict, index: int) -> TrainingImage:
        if self.augmentation is None:
            return image
        return self.augmentation(image, np.random.default_rng((AUGMENTATION_STREAM, *sample.get("key", ()), index)))

    def _texts(self, images: list[TrainingImage], key: tuple[int, ...]) -> _Texts:
        """The texts of a batch, and which of them each object is of."""
        if images[0].expression is not None:
            cleaned = [self.processor.clean_expression(image.expression) for image in images]
            classes = [[0] * len(image.labels) for image in images]
            return _Texts("referring", self.processor.tokenize(cleaned), classes)
        names = _names(images, key)
        place = {name: index for index, name in enumerate(names)}
        classes = [[place[label] for label in image.labels] for image in images]
        return _Texts("category", self.processor.tokenize(self.processor.check_names(names)), classes)


@dataclass(frozen=True)
class _Texts:
    """What a batch is asked: the task, tokens, and per image the number of each object's name."""

    task: str
    inputs: dict
    classes: list[list[int]]


def _names(images: list[TrainingImage], key: tuple[int, ...]) -> list[str]:
    """The names of a batch: those of its objects, then others."""
    present = list(dict.fromkeys(label for image in images for label in image.labels))
    vocabulary = images[0].vocabulary
    if any(image.vocabulary is not vocabulary for image in images):
        vocabulary = sorted({name for image in images for name in image.vocabulary})
    counts = [image.num_names for image in images]
    if None in counts:
        return present + sorted(set(vocabulary) - set(present))
    wanted = max(max(counts) - len(present), 0)
    number = min(wanted + len(present), len(vocabulary))  # enough, whichever of them are present
    drawn = np.random.default_rng((NAME_STREAM, *key)).choice(len(vocabulary), number, replace=False)
    others = [vocabulary[index] for index in drawn]
    return present + [name for name in others if name not in present][:wanted]


def _targets(image: TrainingImage, classes: torch.Tensor, resized: tuple, padded: tuple, with_ids: bool) -> dict:
    order = torch.arange(len(classes))
    if image.masks is None:
        made = box_targets(torch.from_numpy(image.boxes), order, image.size, resized, padded)
    else:
        made = image_targets(torch.from_numpy(np.ascontiguousarray(image.masks)), order, resized, padded)
    kept = made["class_labels"]
    made["class_labels"] = classes[kept]
    if with_ids:
        made["instance_ids"] = torch.tensor(image.object_ids, dtype=torch.long)[kept]
    return made


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
