"""Weights that no file holds: new rows of embeddings and new layers, the same for the same seed."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class NewWeights:
    """Weights that no file holds, in the place of `WeightFiles`."""

    role: str
    weights: dict[str, Tensor]

    def read(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.weights.items()

    def shapes(self) -> dict[str, Tensor]:
        return {name: torch.empty_like(tensor, device="meta") for name, tensor in self.weights.items()}

    def largest_file(self) -> int:
        return 0


def add_rows(name: str, tensor: Tensor, rows: int, fields: Mapping, seed: int) -> Tensor:
    """Embeddings or head with random rows below, up to `rows`; other weights unchanged."""
    if name not in ("model.embed_tokens.weight", "lm_head.weight"):
        return tensor
    return more_rows(rows, fields.get("initializer_range") or 0.02, seed)(name, tensor)


def more_rows(rows: int, std: float, seed: int) -> Callable[[str, Tensor], Tensor]:
    """A change of weights: embeddings and head get random rows below, up to `rows`; others stay as they are."""

    def change(name: str, tensor: Tensor) -> Tensor:
        if not name.endswith(("embed_tokens.weight", "lm_head.weight")) or len(tensor) >= rows:
            return tensor
        new = torch.empty(rows - len(tensor), tensor.shape[1], device=tensor.device)
        if not new.is_meta:
            new.normal_(std=std, generator=_generator(name, seed))
        return torch.cat([tensor, new.to(tensor.dtype)])

    return change


def random_layers(prefix: str, sizes: Mapping[int, tuple[int, int]], seed: int) -> dict[str, Tensor]:
    """Linear layers sampled as `nn.Linear` does: uniform in +-1/sqrt(inputs).

    Args:
        prefix: of the names, before the number of the layer.
        sizes: inputs and outputs by number of the layer.
    """
    weights = {}
    for layer, (inputs, outputs) in sizes.items():
        bound = 1 / math.sqrt(inputs)
        for kind, shape in (("weight", (outputs, inputs)), ("bias", (outputs,))):
            name = f"{prefix}{layer}.{kind}"
            weights[name] = torch.empty(shape).uniform_(-bound, bound, generator=_generator(name, seed))
    return weights


def _generator(name: str, seed: int) -> torch.Generator:
    """Random numbers of one weight: others may come or go."""
    return torch.Generator().manual_seed((seed + zlib.crc32(name.encode())) % 2**63)


__all__ = ["NewWeights", "add_rows", "more_rows", "random_layers"]
