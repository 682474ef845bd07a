"""The sampling of deformable attention on a CPU, without gradients: several times as fast as by grids.

A sample is the weighted sum of four neighbouring rows of the values, and an output that of all its samples. So an
output is one sum of rows with weights, which PyTorch has as the lookup of a bag of embeddings.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.deformable_detr.modeling_deformable_detr import (
    DeformableDetrMultiscaleDeformableAttention,
    MultiScaleDeformableAttention,
)


NEIGHBOURS = ((0, 0), (0, 1), (1, 0), (1, 1))  # whether below a sample, and on its right


class DeformableSampling(MultiScaleDeformableAttention):
    """What transformers' module computes. It has no weights."""

    def forward(self, value, spatial_shapes, spatial_shapes_list, level_start_index, locations, weights, *args):
        """Sums of samples, `[batch, queries, heads * dim]`.

        Args:
            value: `[batch, locations of all levels, heads, dim]`.
            spatial_shapes, spatial_shapes_list: height and width of each level.
            level_start_index: of each level in `value`.
            locations: x and y of the samples, `[batch, queries, heads, levels, points, 2]`, 0..1 inside the image.
            weights: `[batch, queries, heads, levels, points]`.
            args: for transformers' module.
        """
        needs_gradient = torch.is_grad_enabled() and any(each.requires_grad for each in (value, locations, weights))
        if value.device.type != "cpu" or needs_gradient:
            return super().forward(
                value, spatial_shapes, spatial_shapes_list, level_start_index, locations, weights, *args
            )
        return sum_samples(value, spatial_shapes, level_start_index, locations, weights)


def sum_samples(value: Tensor, sizes: Tensor, starts: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    """See [`DeformableSampling`].

    Example:

        >>> value = torch.arange(4.0).view(1, 4, 1, 1)  # an image of 2 x 2
        >>> centre, one = torch.full((1, 1, 1, 1, 1, 2), 0.5), torch.ones(1, 1, 1, 1, 1)
        >>> sum_samples(value, torch.tensor([[2, 2]]), torch.tensor([0]), centre, one).item()
        1.5
    """
    batch, length, heads, dim = value.shape
    queries = locations.shape[1]
    heights, widths = (sizes[:, axis, None].int() for axis in (0, 1))  # of each level, for all of its points
    columns, column_shares = _neighbours(locations[..., 0], widths)
    rows, row_shares = _neighbours(locations[..., 1], heights)
    image = length * torch.arange(batch, dtype=torch.int32, device=value.device).view(-1, 1, 1, 1, 1)
    head = torch.arange(heads, dtype=torch.int32, device=value.device).view(-1, 1, 1)
    first = (image + starts.int()[:, None]) * heads + head  # of the level, in the table
    lines = [row * (widths * heads) + first for row in rows]
    shape = (batch, queries, heads, len(lines) * len(columns), *locations.shape[3:5])
    indices, shares = value.new_empty(shape, dtype=torch.int32), weights.new_empty(shape)
    weighted = [share * weights for share in row_shares]
    for number, (below, right) in enumerate(NEIGHBOURS):
        torch.add(lines[below], columns[right], alpha=heads, out=indices[:, :, :, number])
        torch.mul(weighted[below], column_shares[right], out=shares[:, :, :, number])
    bags, table = batch * queries * heads, value.reshape(batch * length * heads, dim)
    per_row = shares.view(bags, -1).to(table)
    sums = F.embedding_bag(indices.view(bags, -1), table, per_sample_weights=per_row, mode="sum")
    return sums.view(batch, queries, heads * dim)


def _neighbours(locations: Tensor, sizes: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Along one axis: the two neighbouring places, int32, and their shares; a place outside has none."""
    at = locations * sizes - 0.5
    before = at.floor()
    part = at - before
    places, shares = [], []
    for place, share in ((before, 1 - part), (before + 1, part)):
        inside = place.clamp(min=0).minimum((sizes - 1).to(place)).nan_to_num_(0.0)
        places.append(inside.int())
        shares.append(share * (inside == place))
    return places, shares


def use_fast_sampling(module: nn.Module) -> None:
    """Give every deformable attention inside a module the sampling of this file."""
    for part in module.modules():
        if isinstance(part, DeformableDetrMultiscaleDeformableAttention):
            part.attn = DeformableSampling()


__all__ = ["DeformableSampling", "sum_samples", "use_fast_sampling"]
