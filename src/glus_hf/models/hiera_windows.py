"""The image encoder of SAM-2 (Hiera) at inference, without work that nobody reads.

The blocks of transformers pad a map until windows fill it, and project the padding with it: at 256 pixels it is two
thirds of what Hiera-tiny's third stage projects. Here only the map is projected. What an attention sees of the padding
is one key, repeated. Nor is the product of queries and keys computed a second time. Results are equal up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F


def is_hiera(mask_model) -> bool:
    """Whether a SAM-2 model of transformers has the encoder that this file knows."""
    return type(mask_model.vision_encoder.backbone).__name__ == "Sam2HieraDetModel"


def hiera_maps(mask_model, pixel_values: Tensor) -> list[Tensor]:
    """As `Sam2VideoModel.get_image_features`: `[n, 3, S, S]` -> maps `[n, c, S/4, S/4]`, `[n, c', S/8, S/8]` and
    `[n, dim, S/16, S/16]`.

    Example:

        >>> [tuple(map.shape) for map in hiera_maps(mask_model, torch.zeros(1, 3, 256, 256))]  # doctest: +SKIP
        [(1, 32, 64, 64), (1, 64, 32, 32), (1, 256, 16, 16)]
    """
    encoder = mask_model.vision_encoder
    maps = feature_pyramid(encoder.neck, hiera_stages(encoder.backbone, pixel_values))
    maps = maps[-encoder.num_feature_levels :][::-1]
    decoder = mask_model.mask_decoder
    return [decoder.conv_s0(maps[0]), decoder.conv_s1(maps[1]), *maps[2:]]


def hiera_stages(backbone, pixel_values: Tensor) -> list[Tensor]:
    """The last map `[n, height, width, channels]` of each stage."""
    hidden = backbone.patch_embed(pixel_values)
    hidden = hidden + backbone._get_pos_embed(hidden.shape[1:3])
    stages = []
    for index, block in enumerate(backbone.blocks):
        hidden = run_block(block, hidden)
        if index in backbone.stage_ends:
            stages.append(hidden)
    return stages


def feature_pyramid(neck, stages: list[Tensor]) -> list[Tensor]:
    """Maps `[n, dim, height, width]` of the stages, from the coarsest to the finest."""
    maps, last = [], len(stages) - 1
    for level in range(last, -1, -1):
        lateral = neck.convs[last - level](stages[level].permute(0, 3, 1, 2))
        if level in neck.fpn_top_down_levels and level < last:
            lateral = lateral + F.interpolate(maps[-1].float(), scale_factor=2.0, mode="nearest").to(lateral.dtype)
        maps.append(lateral)
    return maps


def run_block(block, hidden: Tensor) -> Tensor:
    """One block of Hiera on a map `[n, height, width, channels]`."""
    if type(block).__name__ != "Sam2MultiScaleBlock":  # sharded by FSDP: only a call of the whole gathers its weights
        return block(hidden)
    stride = block.query_stride[0] if block.query_stride else 1
    if any(side % stride for side in (*hidden.shape[1:3], block.window_size)):  # padding would be pooled with the map
        return block(hidden)
    normed, residual = block.layer_norm1(hidden), hidden
    if block.dim != block.dim_out:
        residual = _pool(block.proj(normed), stride)
    hidden = residual + attend_in_windows(block, normed, stride)
    return hidden + block.mlp(block.layer_norm2(hidden))


def attend_in_windows(block, normed: Tensor, stride: int) -> Tensor:
    """Attention of every window to itself and its padding; `stride` pools its queries."""
    attention, (count, height, width, _) = block.attn, normed.shape
    qkv = attention.qkv(normed)
    heads = attention.num_attention_heads
    found = qkv.new_empty(count, height // stride, width // stride, qkv.shape[-1] // 3)
    sides = block.window_size or height, block.window_size or width
    padding = attention.qkv(normed.new_zeros(1, normed.shape[-1])) if block.window_size else None
    for top, bottom, rows in _bands(height, sides[0]):
        for left, right, columns in _bands(width, sides[1]):
            windows = _windows(qkv[:, top:bottom, left:right], rows, columns, heads)
            attended = _attend(windows, padding, sides[0] * sides[1] - rows * columns, stride, attention.scale)
            place = found[:, top // stride : bottom // stride, left // stride : right // stride]
            place.copy_(_joined(attended, place.shape, rows // stride, columns // stride))
    return attention.proj(found)


def _bands(length: int, side: int) -> Iterator[tuple[int, int, int]]:
    """Begin, end and window length of the whole windows along a side, and of the rest.

    Example:

        >>> list(_bands(32, 14))
        [(0, 28, 14), (28, 32, 4)]
    """
    whole = length // side * side
    if whole:
        yield 0, whole, side
    if whole < length:
        yield whole, length, length - whole


def _windows(qkv: Tensor, rows: int, columns: int, heads: int) -> Tensor:
    """`[n, height, width, 3 * dim]` -> `[3, windows, heads, rows, columns, head_dim]`."""
    count, height, width, _ = qkv.shape
    split = qkv.view(count, height // rows, rows, width // columns, columns, 3, heads, -1)
    return split.permute(5, 0, 1, 3, 6, 2, 4, 7).flatten(1, 3)


def _attend(windows: Tensor, padding: Tensor | None, num_padded: int, stride: int, scale: float) -> Tensor:
    """`[windows, heads, queries, head_dim]`."""
    queries, keys, values = windows
    if stride > 1:
        pooled = F.max_pool2d(queries.flatten(0, 1).permute(0, 3, 1, 2), stride)
        queries = pooled.permute(0, 2, 3, 1).unflatten(0, windows.shape[1:3])
    queries, keys, values = (states.flatten(2, 3) for states in (queries, keys, values))
    if num_padded:
        _, key, value = padding.view(3, 1, windows.shape[2], 1, -1).expand(-1, len(keys), -1, num_padded, -1)
        keys, values = torch.cat([keys, key], 2), torch.cat([values, value], 2)
    return F.scaled_dot_product_attention(queries, keys, values, scale=scale)


def _joined(attended: Tensor, shape: torch.Size, rows: int, columns: int) -> Tensor:
    """`[windows, heads, rows * columns, head_dim]` -> `[n, height, width, dim]`."""
    count, height, width, _ = shape
    split = attended.view(count, height // rows, width // columns, attended.shape[1], rows, columns, -1)
    return split.permute(0, 1, 4, 2, 5, 3, 6).reshape(shape)


def _pool(states: Tensor, stride: int) -> Tensor:
    if stride == 1:
        return states
    return F.max_pool2d(states.permute(0, 3, 1, 2), stride).permute(0, 2, 3, 1)


__all__ = ["hiera_maps", "is_hiera"]
