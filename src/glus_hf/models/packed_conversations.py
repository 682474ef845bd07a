"""Conversations about one video behind one copy of what they begin with, so that training reads it once.

System prompt, context frames and first query frame come before the first word about an expression. Behind them the
conversations of a video stand in one row. Each sees the beginning and itself, at the positions that it has alone, so
that losses and gradients are those of conversations in rows of their own, up to rounding. Dropout draws once for the
beginning, not once per conversation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask


PACKED = "packed_sdpa"
"""Name of this attention in transformers; without a `packing` it is "sdpa"."""


@dataclass(frozen=True)
class Packing:
    """Where the positions of n padded conversations are in the rows of their videos.

    Args:
        segments: per video, the length of the beginning, and those of what follows it in each conversation.
        places: `[videos, packed length]`, into the positions of all conversations, one row after the other.
        position_ids: `[videos, packed length]`, as in the conversations.
        unpacked: `[n, length]`, into the positions of all videos; padding has those of some token.
    """

    segments: tuple[tuple[int, tuple[int, ...]], ...]
    places: Tensor
    position_ids: Tensor
    unpacked: Tensor

    def pack(self, states: Tensor) -> Tensor:
        """`[n, length, dim]` -> `[videos, packed length, dim]`."""
        return states.flatten(0, 1)[self.places]

    def unpack(self, states: Tensor) -> Tensor:
        """`[videos, packed length, dim]` -> `[n, length, dim]`."""
        return states.flatten(0, 1)[self.unpacked.to(states.device)]

    def mask(self) -> Tensor:
        """What stands for a mask, so that transformers makes none: the segments say who sees whom."""
        return torch.ones(1, 1, 1, 1, dtype=torch.bool, device=self.places.device)


def plan_packing(input_ids: Tensor, attention_mask: Tensor | None, counts: Sequence[int]) -> Packing:
    """How to pack right-padded conversations `[n, length]`, `counts` of them for each video, in order.

    Example:

        >>> ids, mask = torch.tensor([[1, 7, 5, 6], [1, 7, 8, 0]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
        >>> packing = plan_packing(ids, mask, [2])
        >>> packing.segments
        ((2, (2, 1)),)
        >>> packing.places.tolist(), packing.position_ids.tolist()
        ([[0, 1, 2, 3, 6]], [[0, 1, 2, 3, 2]])
    """
    ids, (num, width) = input_ids.cpu(), input_ids.shape
    lengths = [width] * num if attention_mask is None else attention_mask.sum(1).tolist()
    segments, rows, unpacked = [], [], torch.zeros(num, width, dtype=torch.long)
    first = 0
    for count in counts:
        video = range(first, first + count)
        begin = shared_beginning(ids[first : first + count], [lengths[index] for index in video])
        row = list(range(first * width, first * width + begin))
        for index in video:
            unpacked[index, :begin] = torch.arange(begin)
            unpacked[index, begin : lengths[index]] = torch.arange(len(row), len(row) + lengths[index] - begin)
            row += range(index * width + begin, index * width + lengths[index])
        segments.append((begin, tuple(lengths[index] - begin for index in video)))
        rows.append(row)
        first += count
    return _on_device(segments, rows, unpacked, counts, input_ids)


def _on_device(segments: list, rows: list[list[int]], unpacked: Tensor, counts, input_ids: Tensor) -> Packing:
    longest, device = max(map(len, rows)), input_ids.device
    places = torch.tensor([row + row[:1] * (longest - len(row)) for row in rows])
    owner = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(list(counts)))
    unpacked = unpacked + owner[:, None] * longest
    return Packing(tuple(segments), places.to(device), (places % input_ids.shape[1]).to(device), unpacked.to(device))


def shared_beginning(ids: Tensor, lengths: Sequence[int]) -> int:
    """How many ids n padded conversations `[n, length]` have in common from their first on.

    Example:

        >>> shared_beginning(torch.tensor([[1, 7, 5], [1, 7, 0]]), [3, 2])
        2
    """
    same = (ids == ids[0]).all(0)[: min(lengths)]
    return int(same.long().cumprod(0).sum())


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    packing: Packing | None = None,
    **kwargs,
) -> tuple[Tensor, None]:
    """Attention `[rows, heads, length, head_dim]` -> `[rows, length, heads, head_dim]`, as transformers calls it."""
    if packing is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
    options = {"dropout_p": dropout, "scale": scaling, "enable_gqa": key.shape[1] != query.shape[1]}
    rows = [
        _attend_in_row(*states, segments, options)
        for *states, segments in zip(query, key, value, packing.segments, strict=True)
    ]
    return torch.stack(rows).transpose(1, 2).contiguous(), None


def _attend_in_row(query: Tensor, key: Tensor, value: Tensor, segments, options: dict) -> Tensor:
    """Of one video, `[heads, packed length, head_dim]`; padding attends to nothing."""
    begin, rests = segments
    shared_key, shared_value = key[:, :begin], value[:, :begin]
    attended = [_attend(query[:, :begin], shared_key, shared_value, options)]
    at = begin
    for length in rests:
        own = slice(at, at + length)
        keys, values = torch.cat([shared_key, key[:, own]], 1), torch.cat([shared_value, value[:, own]], 1)
        attended.append(_attend(query[:, own], keys, values, options))
        at += length
    return torch.cat([*attended, torch.zeros_like(query[:, at:])], 1)


def _attend(query: Tensor, key: Tensor, value: Tensor, options: dict) -> Tensor:
    """The last positions of a sequence to all that is not behind them: `[heads, length, head_dim]`."""
    before = key.shape[1] - query.shape[1]
    visible = torch.ones(query.shape[1], key.shape[1], dtype=torch.bool, device=query.device).tril(before)
    how = {"is_causal": True} if before == 0 else {"attn_mask": visible}
    return F.scaled_dot_product_attention(query[None], key[None], value[None], **how, **options)[0]


AttentionInterface.register(PACKED, packed_attention)
AttentionMaskInterface.register(PACKED, sdpa_mask)

__all__ = ["PACKED", "Packing", "plan_packing"]
