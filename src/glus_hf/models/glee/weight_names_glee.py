"""Names of weights: the layout of the released GLEE <-> ours.

A few weights change on the way: matrices that are multiplied from the right become linear layers, and joined query,
key and value projections three. A part of a weight has its original name with the part behind it: "in_proj_weight[1]".
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from torch import Tensor

from ...conversion.name_rules import NameRules, each, same, with_prefixes


OURS = "model."
PREFIXES = ("module.", "glee.")
PARTS = 3
WEIGHT_BIAS = ("weight", "bias")
JOINED = re.compile(r"(.+\.(?:in_proj_|qkv\.))(weight|bias)")
RIGHT_MATRIX = re.compile(r"lang_projection|predictor\.category_embed|mask_sptial_embed\.\d+")
BOX_COPY = re.compile(r"predictor\.(?:decoder\.)?bbox_embed\.\d+\.(.+)")
NORM_COPY = re.compile(r"predictor\.decoder\.norm\.(.+)")

ROTARY_TABLE = re.compile(r"backbone\.net\.(?:rope_(?:win|glb)|blocks\.(?P<i>\d+)\.attn\.rope)\.freqs_(?:cos|sin)")
"""Computed by an EVA-02, which stores them for every layer."""

IGNORED = re.compile(
    rf"criterion\..+|.+\.(?:relative_position_index|num_batches_tracked|position_ids)|{ROTARY_TABLE.pattern}"
)
"""Computed buffers, and the loss's own."""

TEACHER_PREFIX = "text_encoder_teacher."
BATCH_NORM = same("weight", "bias", "running_mean", "running_var")
CLIP = {
    "embeddings.token_embedding.weight": "embeddings.token_embedding.weight",
    "embeddings.position_embedding.weight": "embeddings.position_embedding.weight",
    **each(
        "encoder.layers.{i}.@.{p}",
        "encoder.layers.{i}.@.{p}",
        same(
            *(f"self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj", "out_proj")),
            *("layer_norm1", "layer_norm2", "mlp.fc1", "mlp.fc2"),
        ),
    ),
    "final_layer_norm.{p}": "final_layer_norm.{p}",
}
DEFORMABLE_ATTENTION = same("sampling_offsets", "attention_weights", "value_proj", "output_proj")
FUSION = (
    *(("layer_norm_v", "layer_norm_vision"), ("layer_norm_l", "layer_norm_text")),
    *(("attn.v_proj", "attn.vision_proj"), ("attn.l_proj", "attn.text_proj")),
    *(("attn.values_v_proj", "attn.values_vision_proj"), ("attn.values_l_proj", "attn.values_text_proj")),
    *(("attn.out_v_proj", "attn.out_vision_proj"), ("attn.out_l_proj", "attn.out_text_proj")),
)
LABEL_TABLES = {
    **{
        name: f"{name}_label_enc"
        for name in ("coco", "obj365", "vg", "grounding", "ytvis19", "ytvis21", "ovis", "uvo")
    },
    **{name: name for name in ("bdd_det", "bdd_inst")},
}


def _resnet() -> dict[str, str]:
    block, ours = "res{j}.{i}.", "encoder.stages.{j}.layers.{i}."
    names = {"stem.conv1": "embedder.embedder."}
    names |= {block + "shortcut": ours + "shortcut."}
    names |= {f"{block}conv{number}": f"{ours}layer.{number - 1}." for number in (1, 2, 3)}
    rules = {f"{theirs}.weight": f"{target}convolution.weight" for theirs, target in names.items()}
    for theirs, target in names.items():
        rules |= each(f"{theirs}.norm.@", f"{target}normalization.@", BATCH_NORM)
    return rules


def _swin() -> dict[str, str]:
    block, ours = "layers.{i}.blocks.{j}.", "swin.encoder.layers.{i}.blocks.{j}."
    projections = tuple((f"{{p}}[{part}]", f"{name}_proj.{{p}}") for part, name in enumerate("qkv"))
    pairs = (("norm1", "layernorm_before"), ("norm2", "layernorm_after"), ("attn.proj", "attention.o_proj"))
    return {
        "patch_embed.proj.{p}": "swin.embeddings.patch_embeddings.projection.{p}",
        "patch_embed.norm.{p}": "swin.embeddings.norm.{p}",
        **each(block + "@.{p}", ours + "@.{p}", (*pairs, *same("mlp.fc1", "mlp.fc2"))),
        **each(block + "attn.qkv.@", ours + "attention.@", projections),
        block + "attn.relative_position_bias_table": ours
        + "attention.relative_position_bias.relative_position_bias_table",
        "layers.{i}.downsample.reduction.weight": "swin.encoder.layers.{i}.downsample.reduction.weight",
        "layers.{i}.downsample.norm.{p}": "swin.encoder.layers.{i}.downsample.norm.{p}",
        **{f"norm{index}.{{p}}": f"hidden_states_norms.stage{index + 1}.{{p}}" for index in range(4)},
    }


def _eva02() -> dict[str, str]:
    block, ours = "net.blocks.{i}.", "blocks.{i}."
    mlp = (("w1", "gate_proj"), ("w2", "up_proj"), ("ffn_ln", "norm"), ("w3", "down_proj"))
    weights = same("q_proj.weight", "k_proj.weight", "v_proj.weight")
    biases = (("q_bias", "q_proj.bias"), ("v_bias", "v_proj.bias"))
    first_map, first_projection = 3, (1, 0, 1)  # simfp_3.0 and simfp_5.0 change the size
    rules = {
        "net.pos_embed": "position_embedding",
        "net.patch_embed.proj.{p}": "patch_embedding.{p}",
        **each(block + "@.{p}", ours + "@.{p}", same("norm1", "norm2")),
        **each(block + "attn.@", ours + "attention.@", weights + biases),
        block + "attn.proj.{p}": ours + "attention.o_proj.{p}",
        **each(block + "mlp.@.{p}", ours + "mlp.@.{p}", mlp),
        "simfp_3.0.{p}": "pyramid.enlarge.{p}",
    }
    for index, begin in enumerate(first_projection):
        for part in range(2):
            theirs, target = f"simfp_{first_map + index}.{begin + part}", f"pyramid.projections.{index}"
            rules[f"{theirs}.weight"] = f"{target}.{2 * part}.weight"
            rules[f"{theirs}.norm.{{p}}"] = f"{target}.{2 * part + 1}.{{p}}"
    return rules


def _pixel_decoder() -> dict[str, str]:
    encoder = "transformer.encoder."
    fusion = encoder + "vl_layers.0.b_attn."
    pairs = (("norm1", "self_attn_layer_norm"), ("norm2", "final_layer_norm"))
    return {
        "input_proj.{i}.{j}.{p}": "input_projections.{i}.{j}.{p}",
        "transformer.level_embed": "level_embedding",
        **each(fusion + "@.{p}", "fusion.@.{p}", FUSION),
        **each(fusion + "@", "fusion.@", (("gamma_v", "vision_param"), ("gamma_l", "text_param"))),
        **each(encoder + "layers.{i}.@.{p}", "layers.{i}.@.{p}", pairs),
        **each(encoder + "layers.{i}.@.{p}", "layers.{i}.@.{p}", (("linear1", "mlp.fc1"), ("linear2", "mlp.fc2"))),
        **each(encoder + "layers.{i}.self_attn.@.{p}", "layers.{i}.self_attn.@.{p}", DEFORMABLE_ATTENTION),
        **{
            f"{theirs}.weight": f"{ours}.0.weight"
            for theirs, ours in (("adapter_1", "lateral"), ("layer_1", "output"))
        },
        **{
            f"{theirs}.norm.{{p}}": f"{ours}.1.{{p}}"
            for theirs, ours in (("adapter_1", "lateral"), ("layer_1", "output"))
        },
        "mask_features.{p}": "mask_projection.{p}",
    }


def _decoder() -> dict[str, str]:
    layer, ours = "decoder.layers.{i}.", "layers.{i}."
    pairs = (("norm1", "encoder_attn_layer_norm"), ("norm2", "self_attn_layer_norm"), ("norm3", "final_layer_norm"))
    more = (("linear1", "mlp.fc1"), ("linear2", "mlp.fc2"), ("self_attn.out_proj", "self_attn.o_proj"))
    projections = tuple((f"{{p}}[{part}]", f"{name}_proj.{{p}}") for part, name in enumerate("qkv"))
    heads = {"_bbox_embed": "box", "mask_embed": "mask", "confidence_score": "confidence"}
    return {
        "category_embed": "heads.category.weight",
        "decoder_norm.{p}": "heads.norm.{p}",
        "enc_output.{p}": "memory_projection.{p}",
        "enc_output_norm.{p}": "memory_norm.{p}",
        "decoder.ref_point_head.layers.{i}.{p}": "query_position.layers.{i}.{p}",
        **{f"{theirs}.layers.{{i}}.{{p}}": f"heads.{name}.layers.{{i}}.{{p}}" for theirs, name in heads.items()},
        **each(layer + "@.{p}", ours + "@.{p}", (*pairs, *more)),
        **each(layer + "self_attn.in_proj_@", ours + "self_attn.@", projections),
        **each(layer + "cross_attn.@.{p}", ours + "encoder_attn.@.{p}", DEFORMABLE_ATTENTION),
        **{f"{theirs}.weight": f"label_tables.{name}.weight" for name, theirs in LABEL_TABLES.items()},
    }


PROMPTER = {
    "mask_sptial_embed.{i}": "level_projections.{i}.weight",
    "pn_indicator.weight": "indicator.weight",
    "sot_fuser.refine.{i}.{p}": "crop_projections.{i}.{p}",
}

RULES = NameRules(
    with_prefixes(_resnet(), "backbone.", OURS + "backbone.")
    | with_prefixes(_swin(), "backbone.", OURS + "backbone.")
    | with_prefixes(_eva02(), "backbone.", OURS + "backbone.")
    | with_prefixes(CLIP, "text_encoder.text_model.", OURS + "text_encoder.student.")
    | with_prefixes(CLIP, "text_encoder_teacher.text_model.", OURS + "text_encoder.teacher.")
    | {"lang_projection": OURS + "text_encoder.projection.weight"}
    | with_prefixes(PROMPTER, "", OURS + "prompter.")
    | with_prefixes(_pixel_decoder(), "pixel_decoder.", OURS + "pixel_decoder.")
    | with_prefixes(_decoder(), "predictor.", OURS + "decoder.")
)


def strip_prefixes(name: str) -> str:
    """A name without what wrappers put before it.

    Example:
        >>> strip_prefixes("module.glee.lang_projection")
        'lang_projection'
    """
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def copy_of(name: str) -> str | None:
    """The weight that another name repeats; None for a name of its own.

    Example:
        >>> copy_of("predictor.decoder.bbox_embed.3.layers.0.bias")
        'predictor._bbox_embed.layers.0.bias'
    """
    for pattern, target in ((BOX_COPY, "predictor._bbox_embed"), (NORM_COPY, "predictor.decoder_norm")):
        found = pattern.fullmatch(name)
        if found:
            return f"{target}.{found[1]}"
    return None


def copies(decoder_layers: int) -> list[str]:
    """Names that repeat other weights, as every release has them.

    Example:
        >>> len(copies(decoder_layers=9))
        110
    """
    boxes = [f"layers.{layer}.{kind}" for layer in range(3) for kind in ("weight", "bias")]
    heads = [f"predictor.{part}bbox_embed.{layer}" for part in ("", "decoder.") for layer in range(decoder_layers)]
    return [
        *(f"{head}.{box}" for head in heads for box in boxes),
        *map("predictor.decoder.norm.".__add__, WEIGHT_BIAS),
    ]


def split_weight(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """A weight as the parts that become ours, by names that the rules know."""
    joined = JOINED.fullmatch(name)
    if joined and len(tensor) % PARTS == 0:
        yield from ((f"{name}[{part}]", piece) for part, piece in enumerate(tensor.chunk(PARTS)))
    else:
        yield name, tensor.T.contiguous() if RIGHT_MATRIX.fullmatch(name) else tensor


def our_name(name: str) -> str | None:
    """Our name of an original weight; None for a name that is not of the layout.

    Example:
        >>> our_name("backbone.res3.0.conv2.norm.bias")
        'model.backbone.encoder.stages.1.layers.0.layer.1.normalization.bias'
    """
    return RULES.our_name(_shift_stage(name, -FIRST_STAGE))


def original_name(name: str) -> str | None:
    """The original name of one of our weights.

    Example:
        >>> original_name("model.backbone.encoder.stages.1.layers.0.layer.1.normalization.bias")
        'backbone.res3.0.conv2.norm.bias'
    """
    found = RULES.original_name(name)
    return None if found is None else _shift_stage(found, FIRST_STAGE)


FIRST_STAGE = 2  # the first stage of a ResNet is called res2


def _shift_stage(name: str, by: int) -> str:
    return re.sub(r"^backbone\.res(\d+)", lambda found: f"backbone.res{int(found[1]) + by}", name)


__all__ = ["IGNORED", "ROTARY_TABLE", "copy_of", "original_name", "our_name", "split_weight", "strip_prefixes"]
