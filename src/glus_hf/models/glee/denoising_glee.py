"""Denoising queries: targets with noise, which the decoder learns to set right. MaskDINO's positives, without
masks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.models.deformable_detr.modeling_deformable_detr import inverse_sigmoid

from .draws_glee import GLEEDraws


@dataclass
class DenoisingQueries:
    """Groups of queries, each with every target of an image once.

    Args:
        content (`FloatTensor [images, groups * size, dim]`): embeddings of labels; zero where an image has fewer
            targets.
        box_logits (`FloatTensor [images, groups * size, 4]`): of the noisy boxes.
        groups, size (`int`): number of groups, and the most targets of an image.
    """

    content: Tensor
    box_logits: Tensor
    groups: int
    size: int

    def hidden_from(self, count: int) -> Tensor:
        """Which of `count` queries, these first, a query does not see: `bool [count, count]`.

        Groups do not see each other, the others see none of them; they see the others.
        """
        group = torch.arange(count, device=self.content.device) // self.size
        group = group.clamp(max=self.groups)
        in_groups = group < self.groups
        return in_groups[None] & (group[None] != group[:, None])

    def matches(self, num_targets: list[int]) -> list[tuple[Tensor, Tensor]]:
        """Per image, the queries that were made of targets, and of which."""
        starts = self.size * torch.arange(self.groups)[:, None]
        numbers = [torch.arange(count).expand(self.groups, -1) for count in num_targets]
        return [((starts + number).flatten(), number.flatten()) for number in numbers]


def make_denoising_queries(
    labels: list[dict[str, Tensor]], embeddings: Tensor, num_labels: int, number: int, noise: float, draws: GLEEDraws
) -> DenoisingQueries | None:
    """Denoising queries of a batch; None without targets, or where an image has more than `number` of them.

    Args:
        labels: per image `class_labels [n]` and `boxes [n, 4]`, centre and size as parts of the image.
        embeddings: `[num_labels or more, dim]`, one per label.
        num_labels: wrong labels are drawn below this.
        number: queries of an image, as many groups as fit.
        noise: see `GLEEConfig.denoising_noise_scale`.
        draws: the random numbers.
    """
    counts = [len(target["class_labels"]) for target in labels]
    size = max(counts)
    groups = number // size if size > 0 else 0
    if groups == 0:
        return None
    classes = torch.cat([target["class_labels"] for target in labels]).repeat(groups)
    boxes = torch.cat([target["boxes"] for target in labels]).repeat(groups, 1)
    classes = _change_labels(classes, num_labels, noise / 2, draws)
    content = embeddings[classes]
    box_logits = inverse_sigmoid(_move_boxes(boxes, noise, draws))
    images = torch.arange(len(labels)).repeat_interleave(torch.tensor(counts)).repeat(groups)
    inside = torch.cat([torch.arange(count) for count in counts]).repeat(groups)
    slots = inside + size * torch.arange(groups).repeat_interleave(sum(counts))
    at, shape = (images.to(classes.device), slots.to(classes.device)), (len(labels), groups * size)
    return DenoisingQueries(
        content.new_zeros(*shape, content.shape[-1]).index_put(at, content),
        box_logits.new_zeros(*shape, box_logits.shape[-1]).index_put(at, box_logits),
        groups,
        size,
    )


def _change_labels(classes: Tensor, num_labels: int, probability: float, draws: GLEEDraws) -> Tensor:
    """Some labels replaced by any label."""
    is_chosen = draws.uniform("denoising_labels", classes.shape, classes.device) < probability
    count = int(is_chosen.sum())
    replacements = draws.integers("denoising_replacements", num_labels, (count,), classes.device)
    return classes.masked_scatter(is_chosen, replacements.to(classes.dtype))


def _move_boxes(boxes: Tensor, noise: float, draws: GLEEDraws) -> Tensor:
    """Boxes with their centres moved and their sizes changed, inside the image."""
    reach = torch.cat([boxes[:, 2:] / 2, boxes[:, 2:]], 1)
    shift = 2 * draws.uniform("denoising_boxes", boxes.shape, boxes.device) - 1
    return (boxes + shift * reach * noise).clamp(0, 1)


__all__ = ["DenoisingQueries", "make_denoising_queries"]
