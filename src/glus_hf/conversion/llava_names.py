"""Names of weights that LLaVA-like checkpoints share: the language model, its projector and CLIP's vision tower."""

from __future__ import annotations

import re

from .name_rules import each, same, with_prefixes


LANGUAGE_MODEL_NAMES = {
    "lm_head.weight": "lm_head.weight",
    "model.mm_projector.{p}": "model.mm_projector.{p}",
    "model.embed_tokens.weight": "model.language_model.embed_tokens.weight",
    "model.norm.weight": "model.language_model.norm.weight",
    **each(
        "model.layers.{i}.@.weight",
        "model.language_model.layers.{i}.@.weight",
        same(
            *(f"self_attn.{name}_proj" for name in ("q", "k", "v", "o")),
            *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
            *("input_layernorm", "post_attention_layernorm"),
        ),
    ),
}

_CLIP_NAMES = {
    **each(
        "embeddings.@",
        "embeddings.@",
        same("class_embedding", "patch_embedding.weight", "position_embedding.weight"),
    ),
    **each("@.{p}", "@.{p}", same("pre_layrnorm", "post_layernorm")),
    **each(
        "encoder.layers.{i}.@.{p}",
        "encoder.layers.{i}.@.{p}",
        same(
            *(f"self_attn.{name}_proj" for name in ("q", "k", "v", "out")),
            *("mlp.fc1", "mlp.fc2", "layer_norm1", "layer_norm2"),
        ),
    ),
}

CLIP_PREFIX = "vision_model."
OUR_CLIP_PREFIX = "model.vision_tower."
CLIP_NAMES = {
    **with_prefixes(_CLIP_NAMES, CLIP_PREFIX, OUR_CLIP_PREFIX),  # first: the names to say when one is missing
    **with_prefixes(_CLIP_NAMES, "", OUR_CLIP_PREFIX),
}
# constants that newer versions compute
IGNORED = re.compile(
    r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq|(vision_model\.)?embeddings\.position_ids"
    # the other half of a whole CLIP
    r"|text_model\..*|(text|visual)_projection\.weight|logit_scale"
)

__all__ = ["CLIP_NAMES", "CLIP_PREFIX", "IGNORED", "LANGUAGE_MODEL_NAMES", "OUR_CLIP_PREFIX"]
