"""Training batches of conversations, for all families that answer in words."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .llama_prompts import IGNORE_INDEX


def pad_conversations(rows: Sequence[Tensor], labels: Sequence[Tensor], pad_token_id: int) -> dict[str, Tensor]:
    """Ids and labels of n conversations as right-padded `int64 [n, length]`, with their `attention_mask`.

    Example:

        >>> rows, labels = [torch.tensor([1, 5]), torch.tensor([1, 6, 7])], [torch.tensor([-100, 5])] * 2
        >>> pad_conversations(rows, labels, pad_token_id=0)["attention_mask"].tolist()
        [[1, 1, 0], [1, 1, 1]]
    """
    pad = torch.nn.utils.rnn.pad_sequence
    return {
        "input_ids": pad(list(rows), batch_first=True, padding_value=pad_token_id),
        "attention_mask": pad([torch.ones_like(row) for row in rows], batch_first=True),
        "labels": pad(list(labels), batch_first=True, padding_value=IGNORE_INDEX),
    }


def counts_per_video(expressions_per_video, num_videos: int, num_conversations: int, default: int = 1) -> list[int]:
    """Conversations of each video of a batch, in order.

    Args:
        expressions_per_video: numbers, or None for `default` each.

    Raises:
        ValueError: they do not fit the batch.
    """
    if expressions_per_video is None:
        counts = [default] * num_videos
    else:
        counts = [int(count) for count in expressions_per_video]
    if len(counts) != num_videos or sum(counts) != num_conversations or min(counts, default=0) < 1:
        raise ValueError(
            f"expressions_per_video {counts} does not fit {num_videos} videos and {num_conversations} conversations."
        )
    return counts


__all__ = ["counts_per_video", "pad_conversations"]
