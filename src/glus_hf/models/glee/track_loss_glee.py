"""The loss of GLEE on clips: the queries of one object on two frames should be more alike than those of others."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .configuration_glee import GLEEConfig
from .draws_glee import GLEEDraws


STAGE = "track"  # of matching


def track_loss(
    embeddings: Tensor,
    labels: list[dict[str, Tensor]],
    matches: list[tuple[Tensor, Tensor]],
    clip_length: int,
    config: GLEEConfig,
    draws: GLEEDraws,
) -> Tensor:
    """Sum over neighbouring frames, divided by the objects of the later ones.

    As in the release, products of queries are not normed, and all pairs of two frames are compared with all others.

    Args:
        embeddings: of the queries, `[images, n, dim]`.
        labels: per image, `instance_ids [k]`.
        matches: per image, queries and their targets.
        clip_length: frames of a clip; the images are clips one after the other.
        config: for the number of queries of no object.
        draws: "track_negatives" `[images, number]`, queries; those of an object are left out.
    """
    negatives = _draw_negatives(len(embeddings), embeddings.shape[1], config.track_num_negatives, draws)
    total, count = embeddings.new_zeros(()), 0
    for image in range(len(embeddings)):
        if image % clip_length == 0:
            continue
        queries, targets = (part.to(embeddings.device) for part in matches[image])
        earlier, earlier_targets = (part.to(embeddings.device) for part in matches[image - 1])
        others = negatives[image - 1].to(embeddings.device)
        others = others[~torch.isin(others, earlier)]
        products = embeddings[image - 1, torch.cat([earlier, others])] @ embeddings[image, queries].T
        ids = labels[image - 1]["instance_ids"][earlier_targets]
        is_same = F.pad(ids[:, None] == labels[image]["instance_ids"][targets], (0, 0, 0, len(others)))
        total, count = total + compare_pairs(products, is_same), count + len(targets)
    return total / max(count, 1)


def compare_pairs(products: Tensor, is_same: Tensor) -> Tensor:
    """log(1 + the sum over all pairs of exp(product of two objects - product of the same object)).

    Example:

        >>> products, is_same = torch.tensor([[1.0], [3.0]]), torch.tensor([[True], [False]])
        >>> round(compare_pairs(products, is_same).item(), 4)
        2.1269
    """
    same, different = products[is_same], products[~is_same]
    if len(same) == 0 or len(different) == 0:
        return products.sum() * 0
    return F.softplus(different.logsumexp(0) + (-same).logsumexp(0))


def _draw_negatives(images: int, queries: int, number: int, draws: GLEEDraws) -> Tensor:
    given = draws.given("track_negatives")
    if given is not None:
        return given
    return draws.uniform("track_order", (images, queries), "cpu").argsort(1)[:, :number]


__all__ = ["track_loss"]
