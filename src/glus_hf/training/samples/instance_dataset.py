"""Training samples of images with objects: names for all of them, or one sentence about one of them."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from ...data.coco_instances import Instance, InstanceImage, instance_mask, read_coco_instances
from ...data.frames import read_frame
from ...errors import BrokenSampleError, UserError
from ...media.sizes import check_size
from .resumable_sampler import SAMPLE_STREAM, EpochDataset
from .skip_log import SkipLog
from .training_image import TrainingImage


LABELS = ("categories", "descriptions", "expressions", "objects")
ANYTHING = "object"  # the name of whatever it is


class InstanceDataset(EpochDataset):
    """Images of a file in the format of COCO, one training sample per image that has objects.

    Sample `i` of epoch `e` is a function of `(seed, e, i)` alone.

    Args:
        annotations, images: as for [`read_coco_instances`].
        labels: what the objects are called: "categories", the names of the file; "descriptions", their own texts as
            names; "expressions", one of the texts of one object as a sentence; "objects", all of them "object".
        num_names: least names of a batch: those of its objects and, at random, others; all of the file by default.
        masks: False leaves the masks out, so that class and box alone are trained.
        name: of the dataset, in messages and logs.
        seed: 0 or more.
        on_error: "raise", or "skip" to take the next image instead of one that cannot be read.

    Raises:
        DatasetFileError: the file is malformed, or has no object with a text where one is needed; one line.

    Example:

        >>> data = InstanceDataset("instances_train2017.json", "train2017", num_names=100)  # doctest: +SKIP
        >>> data[0]["labels"]  # doctest: +SKIP
        ('dog', 'dog', 'frisbee')
    """

    def __init__(
        self,
        annotations: str | os.PathLike | Sequence[str | os.PathLike],
        images: str | os.PathLike,
        labels: str = "categories",
        num_names: int | None = None,
        masks: bool = True,
        name: str = "instances",
        seed: int = 0,
        on_error: str = "raise",
    ):
        super().__init__()
        if labels not in LABELS or on_error not in ("raise", "skip"):
            raise UserError(
                f"labels is one of {', '.join(LABELS)} and on_error raise or skip, got {labels}, {on_error}"
            )
        if seed < 0 or (num_names is not None and num_names < 1):
            raise UserError(f"num_names must be 1 or more and seed 0 or more, got {num_names}, {seed}")
        categories, self._images = read_coco_instances(annotations, images)
        self.labels, self.num_names, self.masks, self.name, self.seed = labels, num_names, masks, name, seed
        if labels in ("descriptions", "expressions"):
            self._images = [image for image in self._images if any(each.texts for each in image.instances)]
            if not self._images:
                raise UserError(f"{annotations}: no object has a text, as labels={labels} needs; use categories")
        self.categories, self.vocabulary = categories, self._vocabulary(categories)
        self.on_error, self._log = on_error, SkipLog(None) if on_error == "skip" else None

    def _vocabulary(self, categories: list[str]) -> tuple[str, ...]:
        """All names that a batch can be asked for."""
        if self.labels == "categories":
            return tuple(dict.fromkeys(categories))
        if self.labels == "objects":
            return (ANYTHING,)
        texts = (text for image in self._images for each in image.instances for text in each.texts)
        return tuple(dict.fromkeys(texts)) if self.labels == "descriptions" else ()

    def __len__(self) -> int:
        return len(self._images)

    @property
    def kinds(self) -> list[str]:
        """Per sample, what must not be mixed in a batch: "landscape" or "portrait"."""
        return ["landscape" if image.width >= image.height else "portrait" for image in self._images]

    @property
    def skipped(self) -> list[dict]:
        """What was left out: `{"sample": name, "reason": text}` each time."""
        return [] if self._log is None else self._log.read()

    def __getitem__(self, index: int) -> dict:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        return self.sample(int(index), (SAMPLE_STREAM, self.seed, self.epoch, int(index)))

    def sample(self, index: int, key: tuple[int, ...]) -> dict:
        """The sample of image `index` that the numbers `key` determine: `image` ([`TrainingImage`]), `dataset`,
        `frame_names` and `key`.

        Raises:
            BrokenSampleError: the image or a mask cannot be read; one line.
        """
        for attempt in range(len(self) if self.on_error == "skip" else 1):
            image = self._images[(index + attempt) % len(self)]
            try:
                made = self._make(image, np.random.default_rng([*key, attempt]))
                return {"image": made, "dataset": self.name, "frame_names": [image.name], "key": (*key, attempt)}
            except (UserError, OSError) as error:
                reason = " ".join(str(error).split())
                if self.on_error == "raise":
                    remedy = "repair or remove it, or pass on_error='skip'"
                    raise BrokenSampleError(f"{self.name}, {image.name}: {reason}; {remedy}") from error
                self._log.add(f"{self.name}, {image.name}", reason)
        raise BrokenSampleError(f"{self.name}: none of {len(self)} images can be read; the last: {reason}")

    def _make(self, image: InstanceImage, rng: np.random.Generator) -> TrainingImage:
        pixels = read_frame(image.file)
        size = image.height, image.width
        check_size(image.name, pixels.shape[:2], size, of="the annotation file")
        instances, texts = self._chosen(image, rng)
        has_masks = self.masks and all(each.segmentation is not None for each in instances)
        is_referring = self.labels == "expressions"
        return TrainingImage(
            pixels=pixels,
            boxes=np.array([each.box for each in instances], dtype=np.float32),
            masks=np.stack([instance_mask(each, size) for each in instances]) if has_masks else None,
            labels=tuple(texts),
            expression=texts[0] if is_referring else None,
            vocabulary=self.vocabulary,
            num_names=self.num_names,
            is_free_text=self.labels in ("descriptions", "expressions"),
        )

    def _chosen(self, image: InstanceImage, rng: np.random.Generator) -> tuple[Sequence[Instance], list[str]]:
        """The objects of a sample, and what each is called."""
        if self.labels == "categories":
            return image.instances, [self.categories[each.category] for each in image.instances]
        if self.labels == "objects":
            return image.instances, [ANYTHING] * len(image.instances)
        described = [each for each in image.instances if each.texts]
        if self.labels == "expressions":
            described = [described[int(rng.integers(len(described)))]]
        return described, [each.texts[int(rng.integers(len(each.texts)))] for each in described]


__all__ = ["InstanceDataset"]
