"""The early fusion of GLEE: every location of an image reads the words.

It has the weights of Grounding DINO's fusion layer, and computes less: what the words would read of the image is not
used in GLEE, and the wide projections of locations are folded into keys and values, of which there are few.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.models.grounding_dino.modeling_grounding_dino import GroundingDinoFusionLayer

from .configuration_glee import GLEEConfig


class GLEEFusion(GroundingDinoFusionLayer):
    """Locations that have read words, as the first output of transformers' layer, but for rounding.

    With q = W x + b of a location x, a logit q k is x (W^T k) + b k; and U (sum of p v) is the sum of p (U v).
    """

    def __init__(self, config: GLEEConfig):
        super().__init__(fusion_config(config))

    def forward(self, locations: Tensor, words: Tensor, padding: Tensor | None = None) -> Tensor:
        """Locations `[images, n, dim]`, normed and with what they read.

        Args:
            locations: `[images, n, dim]`.
            words: `[images or 1, length, dim]`.
            padding: True where `words` is no word and is not read, `[images or 1, length]`.
        """
        locations, words = self.layer_norm_vision(locations), self.layer_norm_text(words)
        keys, biases, values = (part.expand(len(locations), *part.shape[1:]) for part in self._fold(words))
        logits = torch.baddbmm(biases.flatten(1)[:, None], locations, keys.flatten(1, 2).transpose(1, 2))
        logits = logits.unflatten(2, biases.shape[1:])
        if padding is not None:
            logits = logits.masked_fill(padding[:, None, None], float("-inf"))
        weights = F.dropout(logits.softmax(-1), self.attn.dropout, self.training)
        read = torch.baddbmm(self.attn.out_vision_proj.bias, weights.flatten(2), values.flatten(1, 2))
        return torch.addcmul(locations, self.vision_param, read)

    def _fold(self, words: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Keys and values of the words for locations, `[images, heads, length, dim]`, and what each adds to its
        logits, `[images or 1, heads, length]`."""
        attention, split = self.attn, (self.attn.num_heads, self.attn.head_dim)
        keys = attention.text_proj(words).unflatten(-1, split) * attention.scale
        values = attention.values_text_proj(words).unflatten(-1, split)
        of_query = attention.vision_proj.weight.unflatten(0, split)
        of_output = attention.out_vision_proj.weight.unflatten(1, split)
        biases = torch.einsum("blhk,hk->bhl", keys, attention.vision_proj.bias.unflatten(0, split))
        keys = torch.einsum("blhk,hkd->bhld", keys, of_query)
        return keys, biases, torch.einsum("blhk,dhk->bhld", values, of_output)


def fusion_config(config: GLEEConfig) -> SimpleNamespace:
    """What Grounding DINO's fusion layer reads; it takes half of the encoder's width and heads."""
    return SimpleNamespace(
        d_model=config.d_model,
        encoder_ffn_dim=2 * config.fusion_dim,
        encoder_attention_heads=2 * config.fusion_heads,
        fusion_dropout=config.fusion_dropout,
        fusion_droppath=0.0,
        layer_norm_eps=1e-5,
    )


__all__ = ["GLEEFusion"]
