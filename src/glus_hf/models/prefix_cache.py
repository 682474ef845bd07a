"""Many short prompts behind one cached beginning: what windows and target frames share is read once.

The language model is driven layer by layer. Keys and values of a beginning are kept once, and put before those of the
prompts in one layer at a time. What nobody reads is not computed: a beginning needs no state of the last layer, and a
prompt only that of its last position. Without gradients: states are written over.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaModel

from .host_copies import to_device


CACHE = "cache" if "cache" in inspect.signature(LlamaModel.forward).parameters else "past_key_values"
"""What a language model of transformers calls the keys and values it has read: `cache` from 5.24 on."""

CPU_BATCH = 8
ACCELERATOR_BATCH = 16
QUERIES_AT_ONCE = 128


@dataclass
class PromptCache:
    """Keys and values of the beginning of prompts, kept once.

    Args:
        keys, values: per layer `[rows, length, heads * head_dim]`, of one or several beginnings; keys are turned to
            their positions.
        before: what comes before it.
        rows (`[n]`, *optional*): which beginning each of n prompts has; by default every prompt the only one.
    """

    keys: list[Tensor]
    values: list[Tensor]
    before: PromptCache | None = None
    rows: Tensor | None = None

    @property
    def length(self) -> int:
        """Positions, with those before."""
        return self.keys[0].shape[1] + (0 if self.before is None else self.before.length)

    def select(self, rows: Sequence[int]) -> PromptCache:
        """The same beginnings for other prompts; nothing is copied."""
        return PromptCache(self.keys, self.values, self.before, to_device(torch.tensor(rows), self.keys[0].device))

    def write_to(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Fill the first `length` positions of `[n, positions, heads * head_dim]`."""
        end = self.length
        begin = end - self.keys[0].shape[1]
        if self.before is not None:
            self.before.write_to(layer, keys[:, :begin], values[:, :begin])
        for whole, own in ((keys, self.keys[layer]), (values, self.values[layer])):
            own = own.to(whole.device)
            whole[:, begin:end] = own if self.rows is None else own[self.rows.to(own.device)]


def pad_prompts(rows: list[list[int]], device) -> tuple[Tensor, Tensor]:
    """Ids of n prompts as one right-padded batch `[n, length]`, and the place of the last id of each, `[n]`."""
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
    return to_device(ids, device), to_device(lengths - 1, device)


def read_beginning(model: LlamaModel, embeddings: Tensor, before: PromptCache | None = None) -> PromptCache:
    """Read n beginnings of one length, `[n, length, hidden]`; of the last layer only keys and values are made."""
    cache, hidden = PromptCache([], [], before), embeddings
    turns = _turns(model, embeddings, before)
    for index, layer in enumerate(model.layers):
        normed = layer.input_layernorm(hidden)
        keys, values = _keys_and_values(layer.self_attn, normed, turns, before, index)
        begin = keys.shape[1] - embeddings.shape[1]
        cache.keys.append(keys[:, begin:].contiguous())
        cache.values.append(values[:, begin:].contiguous())
        if index < len(model.layers) - 1:
            hidden = _rest_of_layer(layer, hidden, _attend(layer.self_attn, normed, turns, keys, values))
    return cache


def read_at(
    model: LlamaModel, embeddings: Tensor, places: Tensor, before: PromptCache | None = None
) -> tuple[Tensor, Tensor]:
    """Read n right-padded prompts, `[n, length, hidden]`, for their states at k places each, `[n, k]`.

    Returns:
        The states there, `[n, k, hidden]`: the last ones behind the final norm, and those before the last layer.
    """
    hidden, turns = embeddings, _turns(model, embeddings, before)
    *layers, last = model.layers
    for index, layer in enumerate(layers):
        normed = layer.input_layernorm(hidden)
        keys, values = _keys_and_values(layer.self_attn, normed, turns, before, index)
        hidden = _rest_of_layer(layer, hidden, _attend(layer.self_attn, normed, turns, keys, values))
    normed = last.input_layernorm(hidden)
    keys, values = _keys_and_values(last.self_attn, normed, turns, before, len(layers))
    penultimate, places = _take(hidden, places), places.to(normed.device)
    states = _rest_of_layer(last, penultimate.clone(), _attend_at(last.self_attn, normed, turns, keys, values, places))
    return model.norm(states), penultimate


def _take(states: Tensor, places: Tensor) -> Tensor:
    """`[n, length, hidden]` at places `[n, k]`: `[n, k, hidden]`."""
    rows = torch.arange(len(places), device=states.device)[:, None]
    return states[rows, places.to(states.device)]


def _turns(model: LlamaModel, embeddings: Tensor, before: PromptCache | None) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the positions, `[1, length, 1, head_dim / 2]`."""
    begin = 0 if before is None else before.length
    positions = torch.arange(begin, begin + embeddings.shape[1], device=embeddings.device)[None]
    cosines, sines = model.rotary_emb(embeddings, position_ids=positions)
    return tuple(wave[:, :, None, : wave.shape[-1] // 2] for wave in (cosines, sines))


def _turn(states: Tensor, turns: tuple[Tensor, Tensor], out: Tensor) -> Tensor:
    """Rotary positions: halves of `[n, length, heads, head_dim]` as real and imaginary parts, turned into `out`."""
    cosines, sines = (wave.to(states.device) for wave in turns)
    (real, imaginary), (to_real, to_imaginary) = states.chunk(2, -1), out.chunk(2, -1)
    if torch.compiler.is_compiling():  # which fuses this, and refuses to write into a view
        to_real.copy_(real * cosines - imaginary * sines)
        to_imaginary.copy_(imaginary * cosines + real * sines)
        return out
    torch.mul(real, cosines, out=to_real).addcmul_(imaginary, sines, value=-1)
    torch.mul(imaginary, cosines, out=to_imaginary).addcmul_(real, sines)
    return out


def _keys_and_values(
    attention, normed: Tensor, turns: tuple[Tensor, Tensor], before: PromptCache | None, layer: int
) -> tuple[Tensor, Tensor]:
    """Of the beginning and the prompts, `[n, positions, heads * head_dim]`."""
    own_keys, own_values = attention.k_proj(normed), attention.v_proj(normed)
    if before is None:
        heads = own_keys.unflatten(-1, (-1, attention.head_dim))
        return _turn(heads, turns, torch.empty_like(heads)).flatten(-2), own_values
    begin, (count, length, width) = before.length, own_keys.shape
    keys, values = (own_keys.new_empty(count, begin + length, width) for _ in range(2))
    before.write_to(layer, keys, values)
    values[:, begin:] = own_values
    split = (-1, attention.head_dim)
    _turn(own_keys.unflatten(-1, split), turns, keys[:, begin:].unflatten(-1, split))
    return keys, values


def _attend(attention, normed: Tensor, turns: tuple[Tensor, Tensor], keys: Tensor, values: Tensor) -> Tensor:
    """Every position to itself and what comes before it: `[n, length, heads * head_dim]`.

    A part of the queries at a time, so that keys behind them are left out and not masked.
    """
    heads = attention.q_proj(normed).unflatten(-1, (-1, attention.head_dim))
    queries = _turn(heads, turns, torch.empty_like(heads))
    length, begin = queries.shape[1], keys.shape[1] - queries.shape[1]
    in_parts = queries.device.type == "cpu" and not torch.compiler.is_compiling()  # a loop would fix the length
    step = QUERIES_AT_ONCE if in_parts else length
    parts = []
    for at in range(0, length, step) if in_parts else (0,):
        part = queries[:, at : at + step]
        end = begin + at + part.shape[1]
        visible = torch.ones(part.shape[1], end, dtype=torch.bool, device=part.device).tril(begin + at)
        parts.append(_attention(attention, part, keys[:, :end], values[:, :end], visible))
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _attend_at(
    attention, normed: Tensor, turns: tuple[Tensor, Tensor], keys: Tensor, values: Tensor, places: Tensor
) -> Tensor:
    """Some positions of each prompt to themselves and what comes before them: `[n, k, heads * head_dim]`."""
    heads = attention.q_proj(_take(normed, places)).unflatten(-1, (-1, attention.head_dim))
    at_places = tuple(wave[0, places.to(wave.device)] for wave in turns)
    queries = _turn(heads, at_places, torch.empty_like(heads))
    begin = keys.shape[1] - normed.shape[1]
    positions = torch.arange(keys.shape[1], device=keys.device)
    visible = positions <= begin + places.to(keys.device)[..., None]
    return _attention(attention, queries, keys, values, visible[:, None])


def _attention(attention, queries: Tensor, keys: Tensor, values: Tensor, visible: Tensor) -> Tensor:
    keys, values = (states.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2) for states in (keys, values))
    queries, grouped = queries.transpose(1, 2), attention.num_key_value_groups > 1
    attended = F.scaled_dot_product_attention(
        queries, keys, values, attn_mask=visible, scale=attention.scaling, enable_gqa=grouped
    )
    return attended.transpose(1, 2).flatten(-2)


def _rest_of_layer(layer, hidden: Tensor, attended: Tensor) -> Tensor:
    """Residual, and the perceptron of a layer; `hidden` is written over."""
    attended = layer.self_attn.o_proj(attended)
    hidden = hidden.to(attended.device).add_(attended)
    normed, mlp = layer.post_attention_layernorm(hidden), layer.mlp
    return hidden.add_(mlp.down_proj(mlp.act_fn(mlp.gate_proj(normed)).mul_(mlp.up_proj(normed))))


def default_batch_size(model) -> int:
    """Prompts read at once: a fixed number, so that equal settings give equal results on every machine.

    On a CPU 1 to 8 windows are equally fast for a language model 768 wide; a narrow one gains by more. On an
    accelerator 16 windows of a 7B in bfloat16 take about 2 GB beside the weights, by calculation.
    """
    return CPU_BATCH if model.device.type == "cpu" else ACCELERATOR_BATCH


__all__ = ["CACHE", "PromptCache", "default_batch_size", "pad_prompts", "read_at", "read_beginning"]
