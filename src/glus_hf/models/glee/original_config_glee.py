"""Sizes of a released GLEE, read from the shapes of its weights."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from torch import Tensor

from ...errors import CheckpointError
from .configuration_eva02_glee import GLEEEva02Config
from .weight_names_glee import LABEL_TABLES


HEADS = 8  # of all attention but CLIP's and Swin's; no shape tells them
CLIP_HEAD_SIZE = EVA_HEAD_SIZE = 64
STAGES = ["stage1", "stage2", "stage3", "stage4"]
FIRST_STAGE, LAST_STAGE = 2, 5
SPECIAL_TOKENS = 2  # CLIP's start and end are the last of its vocabulary


def config_values(shapes: Mapping[str, Tensor], where: str) -> dict:
    """Fields of [`GLEEConfig`] for weights under their released names, without prefixes.

    Args:
        shapes: the weights, or tensors of their shapes.
        where: name of the file, for the error.

    Raises:
        CheckpointError: the weights are those of no GLEE, or of one with a backbone that is not supported; one line.
    """
    try:
        return {**_backbone_values(shapes, where), **_own_values(shapes), "text_config": _text_values(shapes)}
    except (KeyError, ValueError, IndexError) as error:
        raise CheckpointError(
            f"{where}: is no checkpoint of GLEE, or an incomplete one (no {error}); download it again"
        ) from None


def _backbone_values(shapes: Mapping[str, Tensor], where: str) -> dict:
    if any(name.startswith("backbone.net.") for name in shapes):
        return {"backbone_config": _eva02_values(shapes)}
    if "backbone.patch_embed.proj.weight" in shapes:
        return {"backbone_config": _swin_values(shapes)}
    depths = [count(shapes, rf"backbone\.res{stage}\.(\d+)\.") for stage in range(FIRST_STAGE, LAST_STAGE + 1)]
    sizes = [shapes[f"backbone.res{stage}.0.conv3.weight"].shape for stage in range(FIRST_STAGE, LAST_STAGE + 1)]
    values = {
        "model_type": "resnet",
        "embedding_size": shapes["backbone.stem.conv1.weight"].shape[0],
        "hidden_sizes": [outer for outer, *_ in sizes],
        "depths": depths,
        "out_features": STAGES,
    }
    inner = [inner for _, inner, *_ in sizes]
    usual = [outer // 4 for outer in values["hidden_sizes"]]
    return {"backbone_config": values} | ({} if inner == usual else {"bottleneck_sizes": inner})


def _swin_values(shapes: Mapping[str, Tensor]) -> dict:
    tables = [shapes[f"backbone.layers.{layer}.blocks.0.attn.relative_position_bias_table"] for layer in range(4)]
    return {
        "model_type": "swin",
        "embed_dim": shapes["backbone.patch_embed.proj.weight"].shape[0],
        "depths": [count(shapes, rf"backbone\.layers\.{layer}\.blocks\.(\d+)\.") for layer in range(4)],
        "num_heads": [table.shape[1] for table in tables],
        "window_size": (int(tables[0].shape[0] ** 0.5) + 1) // 2,
        "out_features": STAGES,
    }


def _eva02_values(shapes: Mapping[str, Tensor]) -> dict:
    """Window, image and heads are told by the rotary tables, which a file may lack."""
    positions, dim = shapes["backbone.net.pos_embed"].shape[1:]
    patch = shapes["backbone.net.patch_embed.proj.weight"].shape[-1]
    values = {
        "model_type": GLEEEva02Config.model_type,
        "hidden_size": dim,
        "num_hidden_layers": count(shapes, r"backbone\.net\.blocks\.(\d+)\."),
        "intermediate_size": shapes["backbone.net.blocks.0.mlp.w1.weight"].shape[0],
        "patch_size": patch,
        "position_grid": math.isqrt(positions - 1),
        "pyramid_channels": shapes["backbone.simfp_4.0.weight"].shape[0],
    }
    tables = [shapes.get(f"backbone.net.rope_{kind}.freqs_cos") for kind in ("win", "glb")]
    if None in tables:
        return values | {"num_attention_heads": max(dim // EVA_HEAD_SIZE, 1)}
    window, image = (math.isqrt(len(table)) for table in tables)
    layers = range(values["num_hidden_layers"])
    rows = [shapes[f"backbone.net.blocks.{layer}.attn.rope.freqs_cos"].shape[0] for layer in layers]
    return values | {
        "num_attention_heads": dim // tables[0].shape[1],
        "window_size": window,
        "image_size": image * patch,
        "global_attention_indexes": [layer for layer in layers if rows[layer] == image**2],
    }


def _own_values(shapes: Mapping[str, Tensor]) -> dict:
    encoder, decoder = "pixel_decoder.transformer.encoder.", "predictor.decoder."
    levels = shapes["pixel_decoder.transformer.level_embed"].shape[0]
    points = {
        part: shapes[f"{name}.attention_weights.weight"].shape[0] // (HEADS * levels)
        for part, name in (("encoder", f"{encoder}layers.0.self_attn"), ("decoder", f"{decoder}layers.0.cross_attn"))
    }
    return {
        "d_model": shapes["lang_projection"].shape[1],
        "num_feature_levels": levels,
        "encoder_layers": count(shapes, re.escape(encoder) + r"layers\.(\d+)\."),
        "decoder_layers": count(shapes, re.escape(decoder) + r"layers\.(\d+)\."),
        "encoder_ffn_dim": shapes[f"{encoder}layers.0.linear1.weight"].shape[0],
        "decoder_ffn_dim": shapes[f"{decoder}layers.0.linear1.weight"].shape[0],
        "encoder_attention_heads": HEADS,
        "decoder_attention_heads": HEADS,
        "encoder_n_points": points["encoder"],
        "decoder_n_points": points["decoder"],
        "fusion_dim": shapes[f"{encoder}vl_layers.0.b_attn.attn.v_proj.weight"].shape[0],
        "fusion_heads": HEADS,
        "fusion_text_mask": False,  # that of the released code has no effect
        "query_sine_features": shapes[f"{decoder}ref_point_head.layers.0.weight"].shape[1] // 4,
        "visual_prompter": "full" if "sot_fuser.refine.0.weight" in shapes else "fine",
        "label_tables": {name: shapes[f"predictor.{theirs}.weight"].shape[0] for name, theirs in LABEL_TABLES.items()},
    }


def _text_values(shapes: Mapping[str, Tensor]) -> dict:
    tower = "text_encoder.text_model."
    rows, hidden = shapes[f"{tower}embeddings.token_embedding.weight"].shape
    return {
        "vocab_size": rows,
        "hidden_size": hidden,
        "intermediate_size": shapes[f"{tower}encoder.layers.0.mlp.fc1.weight"].shape[0],
        "num_hidden_layers": count(shapes, re.escape(tower) + r"encoder\.layers\.(\d+)\."),
        "num_attention_heads": max(hidden // CLIP_HEAD_SIZE, 1),
        "max_position_embeddings": shapes[f"{tower}embeddings.position_embedding.weight"].shape[0],
        "projection_dim": hidden,
        "bos_token_id": rows - SPECIAL_TOKENS,
        "eos_token_id": rows - 1,
        "pad_token_id": rows - 1,
    }


def count(shapes: Mapping[str, Tensor], pattern: str) -> int:
    """How many numbers stand at the group of a pattern that names begin with.

    Example:
        >>> count({"layers.0.a": None, "layers.0.b": None, "layers.1.a": None}, r"layers\\.(\\d+)\\.")
        2
    """
    found = {match[1] for match in map(re.compile(pattern).match, shapes) if match}
    if not found:
        raise ValueError(f"weights like {pattern}")
    return len(found)


__all__ = ["config_values"]
