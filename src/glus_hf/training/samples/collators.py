"""From training samples to the inputs of GLUS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...errors import UserError
from .resumable_sampler import TEMPLATE_STREAM


if TYPE_CHECKING:
    from transformers.feature_extraction_utils import BatchFeature

    from ...models.glus.processing_glus import GLUSProcessor


class GLUSCollator:
    """Turns samples of [`ReferringVideoDataset`] or [`MixtureDataset`] into a batch for [`GLUSForVideoSegmentation`].

    Every expression and query frame gets a question and an answer sampled from GLUS's templates. They depend on the
    sample's `key` alone, so a batch is the same for any number of workers and processes.

    With `transformers.Trainer`, set `remove_unused_columns=False`: it would take the frames out of the samples.

    Args:
        processor: its numbers of context and query frames must be those of the dataset.
        labels: "seg" supervises [SEG] only, as GLUS; "answer" the whole answers.
        random_templates: False uses the question and the answer of inference everywhere.

    Raises:
        ValueError: unknown `labels`; from a call, samples that the processor refuses, with their ids.

    Example:

        >>> loader = DataLoader(dataset, batch_size=2, collate_fn=GLUSCollator(processor))  # doctest: +SKIP
        >>> loss = model(**next(iter(loader))).loss  # doctest: +SKIP
    """

    def __init__(self, processor: GLUSProcessor, labels: str = "seg", random_templates: bool = True):
        if labels not in ("seg", "answer"):
            raise UserError(f"unknown labels {labels!r}; use seg or answer")
        self.processor, self.labels, self.random_templates = processor, labels, random_templates

    def __call__(self, samples: Sequence[dict]) -> BatchFeature:
        """B samples to what `GLUSProcessor.__call__` returns."""
        return self.processor([self._with_conversations(sample) for sample in samples], labels=self.labels)

    def _with_conversations(self, sample: dict) -> dict:
        return add_conversations(sample, self.processor.sample_conversation, self.random_templates)


def add_conversations(
    sample: dict, sample_conversation: Callable[[str, np.random.Generator | None], str], random_templates: bool
) -> dict:
    """The sample with `conversations`, one full prompt per expression.

    Args:
        sample: of a training dataset.
        sample_conversation: from an expression to its conversation, as a processor makes it.
        random_templates: sample the templates by the sample's `key`; False takes those of inference.

    Raises:
        UserError: the processor refuses an expression; the message has its ids.
    """
    rng = np.random.default_rng([TEMPLATE_STREAM, *sample["key"]]) if random_templates else None
    conversations = []
    for name, expression in zip(sample["expression_ids"], sample["expressions"], strict=True):
        try:
            conversations.append(sample_conversation(expression, rng))
        except ValueError as error:
            raise UserError(f"{sample['dataset']}/{sample['video_id']}, expression {name}: {error}") from None
    return {**sample, "conversations": conversations}


__all__ = ["GLUSCollator", "add_conversations"]
