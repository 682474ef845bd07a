"""From the layout of the released GLUS checkpoints to ours: configuration and names of weights.

The released folder holds the language model, the projections and the mask branch under Meta's SAM-2 names; the CLIP
tower lives in its own folder and the sizes of the mask branch in SAM-2's yaml file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
import yaml
from torch import Tensor

from .configuration_glus import GLUSConfig


TEXT_FIELDS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "hidden_act",
    "max_position_embeddings",
    "initializer_range",
    "rms_norm_eps",
    "rope_theta",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
)
VISION_FIELDS = (
    "hidden_size",
    "intermediate_size",
    "projection_dim",
    "num_hidden_layers",
    "num_attention_heads",
    "num_channels",
    "image_size",
    "patch_size",
    "hidden_act",
    "layer_norm_eps",
    "attention_dropout",
)


# ---- configuration


def config_from_upstream(
    config: Mapping, clip_config: Mapping, sam2_config: Mapping | str | Path, seg_token_id: int
) -> GLUSConfig:
    """The [`GLUSConfig`] of a released checkpoint.

    Args:
        config (`Mapping`): its `config.json`, read raw: its `model_type` "llava" is another model to `AutoConfig`.
        clip_config (`Mapping`): `config.json` of the CLIP folder, of the whole CLIP or of the vision tower.
        sam2_config (`Mapping`, `str` or `Path`): SAM-2's yaml file or its content.
        seg_token_id (`int`): id of [SEG] in the tokenizer.

    Raises:
        `ValueError`: the mask prompt is not as wide as the mask branch.
    """
    if not isinstance(sam2_config, Mapping):
        sam2_config = yaml.safe_load(Path(sam2_config).read_text())
    clip_config = clip_config.get("vision_config") or clip_config
    converted = GLUSConfig(
        text_config=_pick(config, TEXT_FIELDS),
        vision_config=_pick(clip_config, VISION_FIELDS),
        mask_config=_mask_config(sam2_config.get("model", sam2_config)),
        vision_feature_layer=config["mm_vision_select_layer"],
        num_maskmem=sam2_config.get("model", sam2_config).get("num_maskmem", 7),
        seg_token_id=seg_token_id,
    )
    if config["out_dim"] != converted.seg_embedding_size:
        raise ValueError(
            f"[SEG] is projected to {config['out_dim']} dimensions, but the SAM-2 config has d_model "
            f"{converted.seg_embedding_size}; pass the yaml file that belongs to the checkpoint."
        )
    return converted


def _pick(config: Mapping, names: tuple[str, ...]) -> dict:
    return {name: config[name] for name in names if config.get(name) is not None}


def _mask_config(sam2: Mapping) -> dict:
    """Values of `Sam2VideoConfig` from SAM-2's yaml; what the yaml leaves out has the default of SAM-2's code."""
    image_size, width = sam2["image_size"], sam2["image_encoder"]["neck"]["d_model"]
    return {
        "image_size": image_size,
        "num_maskmem": sam2.get("num_maskmem", 7),
        "sigmoid_scale_for_mem_enc": sam2.get("sigmoid_scale_for_mem_enc", 1.0),
        "sigmoid_bias_for_mem_enc": sam2.get("sigmoid_bias_for_mem_enc", 0.0),
        "enable_occlusion_spatial_embedding": sam2.get("no_obj_embed_spatial", False),
        "enable_temporal_pos_encoding_for_object_pointers": sam2.get("proj_tpos_enc_in_obj_ptrs", False),
        "vision_config": _image_encoder_config(sam2["image_encoder"], image_size),
        "prompt_encoder_config": {"hidden_size": width, "image_size": image_size},
        "mask_decoder_config": {"hidden_size": width},
        **_memory_attention_config(sam2["memory_attention"], image_size),
        **_memory_encoder_config(sam2["memory_encoder"]),
    }


def _image_encoder_config(encoder: Mapping, image_size: int) -> dict:
    trunk, neck = encoder["trunk"], encoder["neck"]
    scales = [2**stage for stage in range(len(trunk["stages"]))]
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "image_size": [image_size, image_size],
        "hidden_size": trunk["embed_dim"],
        "num_attention_heads": trunk["num_heads"],
        "blocks_per_stage": trunk["stages"],
        "embed_dim_per_stage": [trunk["embed_dim"] * scale for scale in scales],
        "num_attention_heads_per_stage": [trunk["num_heads"] * scale for scale in scales],
        "window_size_per_stage": trunk.get("window_spec", [8, 4, 14, 7]),
        "global_attention_blocks": trunk.get("global_att_blocks", [12, 16, 20]),
        "window_positional_embedding_background_size": trunk.get("window_pos_embed_bkg_spatial_size", [14, 14]),
    }
    return {
        "model_type": "sam2_vision_model",
        "backbone_config": backbone,
        "backbone_channel_list": neck["backbone_channel_list"],
        "backbone_feature_sizes": [[image_size // stride] * 2 for stride in (4, 8, 16)],
        "fpn_hidden_size": neck["d_model"],
        "fpn_top_down_levels": neck.get("fpn_top_down_levels", list(range(len(neck["backbone_channel_list"])))),
    }


def _memory_attention_config(attention: Mapping, image_size: int) -> dict:
    layer, rope = attention["layer"], attention["layer"]["self_attention"]
    return {
        "memory_attention_hidden_size": attention["d_model"],
        "memory_attention_num_layers": attention["num_layers"],
        "memory_attention_feed_forward_hidden_size": layer["dim_feedforward"],
        "memory_attention_feed_forward_hidden_act": layer["activation"],
        "memory_attention_dropout": layer["dropout"],
        "memory_attention_num_attention_heads": rope["num_heads"],
        "memory_attention_downsample_rate": rope["downsample_rate"],
        "memory_attention_rope_dropout": rope["dropout"],
        # not the yaml's feat_sizes: SAM 2.0 files say 32, and the code corrects them at run time
        "memory_attention_rope_feat_sizes": [image_size // 16] * 2,
        "rope_parameters": {"rope_type": "axial", "rope_theta": rope["rope_theta"]},
    }


def _memory_encoder_config(encoder: Mapping) -> dict:
    downsampler, fuser = encoder["mask_downsampler"], encoder["fuser"]
    width, block = encoder.get("in_dim", 256), fuser["layer"]
    return {
        "memory_encoder_hidden_size": width,
        "memory_encoder_output_channels": encoder["out_dim"],
        "mask_downsampler_embed_dim": downsampler.get("embed_dim", 256),
        "mask_downsampler_kernel_size": downsampler["kernel_size"],
        "mask_downsampler_stride": downsampler["stride"],
        "mask_downsampler_padding": downsampler["padding"],
        "memory_fuser_num_layers": fuser["num_layers"],
        "memory_fuser_embed_dim": block["dim"],
        "memory_fuser_intermediate_dim": 4 * block["dim"],
        "memory_fuser_kernel_size": block["kernel_size"],
        "memory_fuser_padding": block["padding"],
        "memory_fuser_layer_scale_init_value": float(block["layer_scale_init_value"]),  # yaml reads 1e-6 as text
    }


# ---- names of weights


def _each(upstream: str, ours: str, pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """One rule per pair, which stands at the `@` of both patterns."""
    return {upstream.replace("@", theirs): ours.replace("@", name) for theirs, name in pairs}


def _same(*names: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, name) for name in names)


# Patterns of whole names: {i} and {j} are numbers, {p} is weight or bias; they carry over to the right side.
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
        "vision_model.embeddings.@",
        "embeddings.@",
        _same("class_embedding", "patch_embedding.weight", "position_embedding.weight"),
    ),
    **_each("vision_model.@.{p}", "@.{p}", _same("pre_layrnorm", "post_layernorm")),
    **_each(
        "vision_model.encoder.layers.{i}.@.{p}",
        "encoder.layers.{i}.@.{p}",
        _same(
            *(f"self_attn.{name}_proj" for name in ("q", "k", "v", "out")),
            *("mlp.fc1", "mlp.fc2", "layer_norm1", "layer_norm2"),
        ),
    ),
}

MASK_PREFIX = "model.visual_model."
POINT_EMBEDDING = re.compile(re.escape(MASK_PREFIX) + r"sam_prompt_encoder\.point_embeddings\.(\d+)\.weight")
POSITION_MATRIX = "model.mask_model.prompt_encoder.shared_embedding.positional_embedding"
# constants that newer versions compute
IGNORED = re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq")
# the other half of a whole CLIP
IGNORED_CLIP = re.compile(
    r"vision_model\.embeddings\.position_ids|text_model\..*|(text|visual)_projection\.weight|logit_scale"
)
FIELDS = {"i": r"(?P<i>\d+)", "j": r"(?P<j>\d+)", "p": r"(?P<p>weight|bias)"}


def convert_state_dict(upstream_state: Mapping[str, Tensor], clip_state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of [`GLUSForVideoSegmentation`] from those of a released checkpoint. Every one is used exactly once.

    Args:
        upstream_state (`Mapping[str, Tensor]`): the merged checkpoint, as released.
        clip_state (`Mapping[str, Tensor]`): the vision tower, or the whole CLIP.

    Returns:
        `dict[str, Tensor]`: tensors in their own dtype, shared with the inputs where nothing changes.

    Raises:
        `ValueError`: names that are not of the layout, all listed, or two with one target.
    """
    names = LANGUAGE_NAMES | _with_prefixes(MASK_NAMES, MASK_PREFIX, "model.mask_model.")
    clip_names = _with_prefixes(CLIP_NAMES, "", "model.vision_tower.")
    points = sorted((name for name in upstream_state if POINT_EMBEDDING.fullmatch(name)), key=_point_index)
    rest = {name: tensor for name, tensor in upstream_state.items() if name not in points}
    unknown: list[str] = []
    pairs = _rename(rest, names, IGNORED, unknown) + _rename(clip_state, clip_names, IGNORED_CLIP, unknown)
    converted = dict(pairs)
    if unknown:
        raise ValueError(f"{len(unknown)} weights are not of the released GLUS layout: {', '.join(sorted(unknown))}")
    if len(converted) != len(pairs):
        raise ValueError("two weights have the same target")
    if points:
        stacked = torch.cat([upstream_state[name] for name in points])
        converted["model.mask_model.prompt_encoder.point_embed.weight"] = stacked
    if POSITION_MATRIX in converted:  # transformers keeps it twice
        matrix = converted[POSITION_MATRIX].clone()
        converted["model.mask_model.shared_image_embedding.positional_embedding"] = matrix
    return converted


def _point_index(name: str) -> int:
    return int(POINT_EMBEDDING.fullmatch(name)[1])


def _with_prefixes(names: Mapping[str, str], upstream: str, ours: str) -> dict[str, str]:
    return {upstream + name: ours + target for name, target in names.items()}


def _rename(state: Mapping[str, Tensor], names: Mapping[str, str], ignored: re.Pattern, unknown: list[str]) -> list:
    """`(our name, tensor)` pairs; names without a rule go to `unknown`."""
    rules = [(_compile(pattern), target) for pattern, target in names.items()]
    pairs = []
    for name, tensor in state.items():
        matches = [(match, target) for rule, target in rules if (match := rule.fullmatch(name))]
        if matches:
            match, target = matches[0]
            pairs.append((target.format(**match.groupdict()), tensor))
        elif not ignored.fullmatch(name):
            unknown.append(name)
    return pairs


def _compile(pattern: str) -> re.Pattern:
    return re.compile(re.escape(pattern).replace(r"\{", "{").replace(r"\}", "}").format(**FIELDS))


__all__ = ["config_from_upstream", "convert_state_dict"]
