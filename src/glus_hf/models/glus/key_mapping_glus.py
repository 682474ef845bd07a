"""Names of weights: the released GLUS layout <-> ours.

The released files hold the language model, the projections and the mask branch under Meta's SAM-2 names. The CLIP
tower comes from its own folder; its names are taken with or without `vision_model.` in front.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor


def _each(upstream: str, ours: str, pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """One rule per pair, which stands at the `@` of both patterns."""
    return {upstream.replace("@", theirs): ours.replace("@", name) for theirs, name in pairs}


def _same(*names: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, name) for name in names)


# Patterns of whole names, upstream's -> ours; {i} and {j} are numbers, {p} is weight or bias, on both sides alike.
ATTENTION = (*_same("q_proj", "k_proj", "v_proj"), ("out_proj", "o_proj"))
THREE_LAYERS = (("layers.0", "proj_in"), ("layers.1", "layers.0"), ("layers.2", "proj_out"))
TWO_LAYERS = (("layers.0", "proj_in"), ("layers.1", "proj_out"))

LANGUAGE_NAMES = {
    "lm_head.weight": "lm_head.weight",
    "model.mm_projector.{p}": "model.mm_projector.{p}",
    "model.text_hidden_fcs.0.{i}.{p}": "model.seg_projection.{i}.{p}",
    "model.embed_tokens.weight": "model.language_model.embed_tokens.weight",
    "model.norm.weight": "model.language_model.norm.weight",
    **_each(
        "model.layers.{i}.@.weight",
        "model.language_model.layers.{i}.@.weight",
        _same(
            *(f"self_attn.{name}_proj" for name in ("q", "k", "v", "o")),
            *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
            *("input_layernorm", "post_attention_layernorm"),
        ),
    ),
}

IMAGE_ENCODER_NAMES = {
    "image_encoder.trunk.pos_embed": "vision_encoder.backbone.pos_embed",
    "image_encoder.trunk.pos_embed_window": "vision_encoder.backbone.pos_embed_window",
    "image_encoder.trunk.patch_embed.proj.{p}": "vision_encoder.backbone.patch_embed.projection.{p}",
    "image_encoder.trunk.blocks.{i}.norm{j}.{p}": "vision_encoder.backbone.blocks.{i}.layer_norm{j}.{p}",
    **_each(
        "image_encoder.trunk.blocks.{i}.@.{p}",
        "vision_encoder.backbone.blocks.{i}.@.{p}",
        _same("attn.qkv", "attn.proj", "proj"),
    ),
    **_each("image_encoder.trunk.blocks.{i}.mlp.@.{p}", "vision_encoder.backbone.blocks.{i}.mlp.@.{p}", TWO_LAYERS),
    "image_encoder.neck.convs.{i}.conv.{p}": "vision_encoder.neck.convs.{i}.{p}",
}

MEMORY_NAMES = {
    "memory_attention.norm.{p}": "memory_attention.layer_norm.{p}",
    "memory_attention.layers.{i}.norm{j}.{p}": "memory_attention.layers.{i}.layer_norm{j}.{p}",
    "memory_attention.layers.{i}.linear{j}.{p}": "memory_attention.layers.{i}.linear{j}.{p}",
    **_each("memory_attention.layers.{i}.self_attn.@.{p}", "memory_attention.layers.{i}.self_attn.@.{p}", ATTENTION),
    **_each(
        "memory_attention.layers.{i}.cross_attn_image.@.{p}",
        "memory_attention.layers.{i}.cross_attn_image.@.{p}",
        ATTENTION,
    ),
    "memory_encoder.pix_feat_proj.{p}": "memory_encoder.feature_projection.{p}",
    "memory_encoder.out_proj.{p}": "memory_encoder.projection.{p}",
    **_each(
        "memory_encoder.mask_downsampler.encoder.@.{p}",
        "memory_encoder.mask_downsampler.@.{p}",
        (
            *((f"{3 * layer}", f"layers.{layer}.conv") for layer in range(4)),
            *((f"{3 * layer + 1}", f"layers.{layer}.layer_norm") for layer in range(4)),
            ("12", "final_conv"),
        ),
    ),
    "memory_encoder.fuser.layers.{i}.gamma": "memory_encoder.memory_fuser.layers.{i}.scale",
    "memory_encoder.fuser.layers.{i}.dwconv.{p}": "memory_encoder.memory_fuser.layers.{i}.depthwise_conv.{p}",
    "memory_encoder.fuser.layers.{i}.norm.{p}": "memory_encoder.memory_fuser.layers.{i}.layer_norm.{p}",
    "memory_encoder.fuser.layers.{i}.pwconv{j}.{p}": "memory_encoder.memory_fuser.layers.{i}.pointwise_conv{j}.{p}",
}

PROMPT_ENCODER_NAMES = {
    "sam_prompt_encoder.not_a_point_embed.weight": "prompt_encoder.not_a_point_embed.weight",
    "sam_prompt_encoder.no_mask_embed.weight": "prompt_encoder.no_mask_embed.weight",
    "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": (
        "prompt_encoder.shared_embedding.positional_embedding"
    ),
    **_each(
        "sam_prompt_encoder.mask_downscaling.@.{p}",
        "prompt_encoder.mask_embed.@.{p}",
        (("0", "conv1"), ("1", "layer_norm1"), ("3", "conv2"), ("4", "layer_norm2"), ("6", "conv3")),
    ),
}

MASK_DECODER_NAMES = {
    **_each(
        "sam_mask_decoder.@",
        "mask_decoder.@",
        _same("iou_token.weight", "mask_tokens.weight", "obj_score_token.weight"),
    ),
    "sam_mask_decoder.conv_s{i}.{p}": "mask_decoder.conv_s{i}.{p}",
    **_each(
        "sam_mask_decoder.output_upscaling.@.{p}",
        "mask_decoder.@.{p}",
        (("0", "upscale_conv1"), ("1", "upscale_layer_norm"), ("3", "upscale_conv2")),
    ),
    **_each(
        "sam_mask_decoder.output_hypernetworks_mlps.{i}.@.{p}",
        "mask_decoder.output_hypernetworks_mlps.{i}.@.{p}",
        THREE_LAYERS,
    ),
    **_each("sam_mask_decoder.iou_prediction_head.@.{p}", "mask_decoder.iou_prediction_head.@.{p}", THREE_LAYERS),
    **_each("sam_mask_decoder.pred_obj_score_head.@.{p}", "mask_decoder.pred_obj_score_head.@.{p}", THREE_LAYERS),
    "sam_mask_decoder.transformer.norm_final_attn.{p}": "mask_decoder.transformer.layer_norm_final_attn.{p}",
    "sam_mask_decoder.transformer.layers.{i}.norm{j}.{p}": "mask_decoder.transformer.layers.{i}.layer_norm{j}.{p}",
    **_each(
        "sam_mask_decoder.transformer.layers.{i}.mlp.@.{p}",
        "mask_decoder.transformer.layers.{i}.mlp.@.{p}",
        TWO_LAYERS,
    ),
    **{
        pattern: target
        for attention in (
            "layers.{i}.self_attn",
            "layers.{i}.cross_attn_token_to_image",
            "layers.{i}.cross_attn_image_to_token",
            "final_attn_token_to_image",
        )
        for pattern, target in _each(
            f"sam_mask_decoder.transformer.{attention}.@.{{p}}",
            f"mask_decoder.transformer.{attention}.@.{{p}}",
            ATTENTION,
        ).items()
    },
}

MASK_NAMES = {
    # only in SAM 2.1
    "no_obj_embed_spatial": "occlusion_spatial_embedding_parameter",
    "obj_ptr_tpos_proj.{p}": "temporal_positional_encoding_projection_layer.{p}",
    "maskmem_tpos_enc": "memory_temporal_positional_encoding",
    "no_mem_embed": "no_memory_embedding",
    "no_mem_pos_enc": "no_memory_positional_encoding",
    "no_obj_ptr": "no_object_pointer",
    "mask_downsample.{p}": "mask_downsample.{p}",
    **_each("obj_ptr_proj.@.{p}", "object_pointer_proj.@.{p}", THREE_LAYERS),
    **IMAGE_ENCODER_NAMES,
    **MEMORY_NAMES,
    **PROMPT_ENCODER_NAMES,
    **MASK_DECODER_NAMES,
}

CLIP_NAMES = {
    **_each(
        "embeddings.@",
        "embeddings.@",
        _same("class_embedding", "patch_embedding.weight", "position_embedding.weight"),
    ),
    **_each("@.{p}", "@.{p}", _same("pre_layrnorm", "post_layernorm")),
    **_each(
        "encoder.layers.{i}.@.{p}",
        "encoder.layers.{i}.@.{p}",
        _same(
            *(f"self_attn.{name}_proj" for name in ("q", "k", "v", "out")),
            *("mlp.fc1", "mlp.fc2", "layer_norm1", "layer_norm2"),
        ),
    ),
}

MASK_PREFIX = "model.visual_model."
CLIP_PREFIX = "vision_model."
OUR_CLIP_PREFIX = "model.vision_tower."
# transformers keeps one matrix twice, and the four point embeddings as one
POSITION_MATRIX = "model.mask_model.prompt_encoder.shared_embedding.positional_embedding"
POSITION_MATRIX_COPY = "model.mask_model.shared_image_embedding.positional_embedding"
POINT_EMBEDDINGS = "model.mask_model.prompt_encoder.point_embed.weight"
# a convolution here, nothing at all in SAM-2 where the memory is as wide as the features
MEMORY_PROJECTION = MASK_PREFIX + "memory_encoder.out_proj."
MEMORY_WIDTHS = (MASK_PREFIX + "memory_encoder.pix_feat_proj.bias", MASK_PREFIX + "maskmem_tpos_enc")
UPSTREAM_POINT = MASK_PREFIX + "sam_prompt_encoder.point_embeddings.{i}.weight"
# constants that newer versions compute
IGNORED = re.compile(
    r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq|(vision_model\.)?embeddings\.position_ids"
    # the other half of a whole CLIP
    r"|text_model\..*|(text|visual)_projection\.weight|logit_scale"
)
FIELDS = {"i": r"(?P<i>\d+)", "j": r"(?P<j>\d+)", "p": r"(?P<p>weight|bias)"}


def _with_prefixes(names: Mapping[str, str], upstream: str, ours: str) -> dict[str, str]:
    return {upstream + name: ours + target for name, target in names.items()}


def _compile(pattern: str) -> re.Pattern:
    return re.compile(re.escape(pattern).replace(r"\{", "{").replace(r"\}", "}").format(**FIELDS))


NAMES = (
    LANGUAGE_NAMES
    | _with_prefixes(MASK_NAMES, MASK_PREFIX, "model.mask_model.")
    | _with_prefixes(CLIP_NAMES, CLIP_PREFIX, OUR_CLIP_PREFIX)  # first: the names to say when one is missing
    | _with_prefixes(CLIP_NAMES, "", OUR_CLIP_PREFIX)
)
RULES = [(_compile(upstream), ours) for upstream, ours in NAMES.items()]
REVERSE_RULES = [(_compile(ours), upstream) for upstream, ours in NAMES.items()]
POINT_RULE = _compile(UPSTREAM_POINT)


def our_name(name: str) -> str | None:
    """Our name of an upstream weight; `None` for a name that is not of the layout.

    Example:
        >>> our_name("model.text_hidden_fcs.0.2.bias")
        'model.seg_projection.2.bias'
    """
    return POINT_EMBEDDINGS if POINT_RULE.fullmatch(name) else _translate(name, RULES)


def upstream_names(name: str, rows: int = 4) -> list[str]:
    """Upstream's names of one of our weights: one, or one per row of the point embeddings. Empty for our copies.

    Example:
        >>> upstream_names("model.seg_projection.2.bias")
        ['model.text_hidden_fcs.0.2.bias']
    """
    if name == POINT_EMBEDDINGS:
        return [UPSTREAM_POINT.format(i=row) for row in range(rows)]
    if name == POSITION_MATRIX_COPY:
        return []
    translated = _translate(name, REVERSE_RULES)
    return [] if translated is None else [translated]


def _translate(name: str, rules: list[tuple[re.Pattern, str]]) -> str | None:
    for pattern, target in rules:
        match = pattern.fullmatch(name)
        if match:
            return target.format(**match.groupdict())
    return None


def plan_names(names: Iterable[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Which upstream weights make which of ours.

    Returns:
        `dict[str, list[str]]`: our name -> upstream's (several only for the point embeddings, in order), and the
        names that are not of the layout, sorted. A name of ours with two sources of which only one can be used has
        both in the list. Constants that are computed today and the text half of CLIP are in neither.
    """
    plan: dict[str, list[str]] = {}
    unknown = []
    for name in names:
        target = our_name(name)
        if target is not None:
            plan.setdefault(target, []).append(name)
        elif not IGNORED.fullmatch(name):
            unknown.append(name)
    if POINT_EMBEDDINGS in plan:
        plan[POINT_EMBEDDINGS].sort(key=lambda name: int(POINT_RULE.fullmatch(name)["i"]))
    if POSITION_MATRIX in plan:
        plan[POSITION_MATRIX_COPY] = plan[POSITION_MATRIX]
    return plan, sorted(unknown)


def identity_projection(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The memory projection of a checkpoint that has none, because features and memories are equally wide: a 1 x 1
    convolution that changes nothing. Empty for other checkpoints."""
    features, memories = (weights.get(name) for name in MEMORY_WIDTHS)
    has_one = MEMORY_PROJECTION + "weight" in weights or MEMORY_PROJECTION + "bias" in weights
    if has_one or features is None or memories is None or features.shape[-1] != memories.shape[-1]:
        return {}
    kernel = torch.eye(features.shape[-1], dtype=features.dtype)[..., None, None]
    return {MEMORY_PROJECTION + "weight": kernel, MEMORY_PROJECTION + "bias": torch.zeros(len(kernel)).to(kernel)}


def convert_state_dict(upstream_state: Mapping[str, Tensor], clip_state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of [`GLUSForVideoSegmentation`] from those of a released checkpoint. Every one is used exactly once.

    Args:
        upstream_state (`Mapping[str, Tensor]`): the merged checkpoint.
        clip_state (`Mapping[str, Tensor]`): the vision tower, or the whole CLIP.

    Returns:
        `dict[str, Tensor]`: tensors in their own dtype, shared with the inputs where nothing changes.

    Raises:
        `ValueError`: names that are not of the layout, all listed, or two with one target.
    """
    state = {**upstream_state, **identity_projection(upstream_state), **clip_state}
    plan, unknown = plan_names(state)
    if unknown:
        raise ValueError(f"{len(unknown)} weights are not of the released GLUS layout: {', '.join(unknown)}")
    doubled = [name for target in doubled_targets(plan) for name in plan[target]]
    if doubled:
        raise ValueError(f"{len(doubled)} weights have the same target: {', '.join(doubled)}")
    return {target: join_sources(target, [state[name] for name in sources]) for target, sources in plan.items()}


def doubled_targets(plan: Mapping[str, list[str]]) -> list[str]:
    """Our names that more than one upstream weight would fill."""
    return [target for target, sources in plan.items() if target != POINT_EMBEDDINGS and len(sources) > 1]


def join_sources(target: str, tensors: list[Tensor]) -> Tensor:
    """Our weight from its upstream weights, in the order of the plan."""
    if target == POINT_EMBEDDINGS:
        return torch.cat(tensors)
    return tensors[0].clone() if target == POSITION_MATRIX_COPY else tensors[0]


__all__ = ["convert_state_dict", "identity_projection", "our_name", "plan_names", "upstream_names"]
