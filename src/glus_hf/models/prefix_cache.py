"""Many short prompts behind one cached prefix: what windows and target frames share is read once."""

from __future__ import annotations

import inspect

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import DynamicCache, LlamaModel


CACHE = "cache" if "cache" in inspect.signature(LlamaModel.forward).parameters else "past_key_values"
"""What a language model of transformers calls the keys and values it has read: `cache` from 5.24 on."""


def pad_behind_prefix(prefix: DynamicCache, rows: list[list[int]], device) -> tuple[Tensor, Tensor, Tensor]:
    """Ids of prompts behind a prefix as one right-padded batch.

    Args:
        prefix: keys and values of what comes before all of them.
        rows: ids of n prompts.

    Returns:
        `input_ids [n, length]`, `attention_mask [n, prefix + length]` and the place of the last id of each, `[n]`.
    """
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
    mask = torch.arange(ids.shape[1])[None] < lengths[:, None]
    mask = F.pad(mask, (prefix.get_seq_length(), 0), value=True).long()
    return ids.to(device), mask.to(device), lengths - 1


def repeat_cache(prefix: DynamicCache, count: int, config) -> DynamicCache:
    """A cache of `count` rows that starts with the prefix, which is not changed."""
    cache = DynamicCache(config=config)
    for index, layer in enumerate(prefix.layers):
        keys, values = (state.expand(count, -1, -1, -1) for state in (layer.keys, layer.values))
        cache.update(keys, values, index)
    return cache


def default_batch_size(model, cache_length: int, read_length: int) -> int:
    """Prompts read at once: 8 on a CPU; on an accelerator, what fits half of its free memory (at most 64).

    Args:
        model: on its device.
        cache_length: positions of a prompt with its prefix.
        read_length: positions whose activations are counted.
    """
    device = model.device
    if device.type != "cuda":
        return 8
    config = model.config.text_config
    head_size = config.head_dim or config.hidden_size // config.num_attention_heads
    cache = 2 * config.num_hidden_layers * config.num_key_value_heads * head_size * cache_length
    floats = cache + read_length * (8 * config.hidden_size + 3 * config.intermediate_size)
    free = torch.cuda.mem_get_info(device)[0]
    return max(1, min(64, int(free / 2 / (floats * model.dtype.itemsize))))


__all__ = ["CACHE", "default_batch_size", "pad_behind_prefix", "repeat_cache"]
