"""The mask branch's configuration, from SAM-2's yaml file or, for the four published sizes, from shapes of weights."""

from __future__ import annotations

import importlib.util
import itertools
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from ..checkpoint_files.config_bounds import check_numbers
from ..checkpoint_files.json_fields import shorten
from ..errors import UserError
from ..safe_files import read_text
from .output_folder import existing_file


REFERENCE = re.compile(r"'(\w+)': '(\$\{[^}]*\})'")  # of hydra, as in the files that train SAM-2
SECTIONS = ("image_size", "image_encoder", "memory_attention", "memory_encoder")
# what SAM-2's code can do otherwise and transformers' cannot; no released configuration differs
FIXED = {
    "image_encoder.scalp": 1,
    "image_encoder.trunk.q_pool": 3,
    "image_encoder.trunk.q_stride": [2, 2],
    "image_encoder.trunk.dim_mul": 2.0,
    "image_encoder.trunk.head_mul": 2.0,
    "image_encoder.neck.kernel_size": 1,
    "image_encoder.neck.fpn_interp_model": "nearest",
    "image_encoder.neck.fuse_type": "sum",
    "image_encoder.neck.position_encoding.normalize": True,
    "image_encoder.neck.position_encoding.temperature": 10000,
    "image_encoder.neck.position_encoding.scale": None,
    "memory_attention.pos_enc_at_input": True,
    "memory_attention.layer.pos_enc_at_attn": False,
    "memory_attention.layer.pos_enc_at_cross_attn_keys": True,
    "memory_attention.layer.pos_enc_at_cross_attn_queries": False,
    "memory_attention.layer.cross_attention.rope_k_repeat": True,
    "memory_encoder.fuser.layer.use_dwconv": True,
    "memory_encoder.position_encoding.normalize": True,
    "memory_encoder.position_encoding.temperature": 10000,
    "memory_encoder.position_encoding.scale": None,
    "use_high_res_features_in_sam": True,
}


def find_sam2_config(name: str | os.PathLike) -> Path:
    """A yaml file, or by Meta's name of it ("sam2.1_hiera_l") the one in the installed package `sam2`.

    The package's files are read; nothing of it is imported.

    Raises:
        `ValueError`: no such file, and no such name in the package, or no package.
    """
    file = Path(name)
    if file.exists() or file.suffix in (".yaml", ".yml") or file.name != os.fspath(name):
        return existing_file(file)
    spec = importlib.util.find_spec("sam2")
    if spec is None:
        raise UserError(
            f"{name}: is no yaml file; to find it by this name, install the package sam2 (docs/convert.md says how)"
        )
    folder = Path(spec.submodule_search_locations[0]) / "configs"
    known = {path.stem: path for version in ("sam2", "sam2.1") for path in sorted((folder / version).glob("*.yaml"))}
    if os.fspath(name) not in known:
        raise UserError(f"{name}: the package sam2 has no such configuration; use {', '.join(known)}")
    return known[os.fspath(name)]


def read_sam2_config(source: Mapping | str | Path) -> Mapping:
    """The model section of SAM-2's yaml file, or of its content.

    Raises:
        `ValueError`: the file is no SAM-2 configuration.
    """
    if isinstance(source, Mapping):
        name, content = "the SAM-2 config", source
    else:
        name, content = source, _read_yaml(Path(source))
    model = content.get("model", content) if isinstance(content, Mapping) else {}
    missing = [section for section in SECTIONS if not isinstance(model, Mapping) or section not in model]
    if missing:
        raise UserError(f"{name}: lacks {', '.join(missing)}; pass a SAM-2 yaml file such as sam2_hiera_l.yaml")
    check_numbers(dict(model), str(name))
    reference = REFERENCE.search(str(model))
    if reference:
        raise UserError(f"{name}: {reference[1]} is the reference {reference[2]}; write the value in its place")
    return model


class _PlainLoader(yaml.SafeLoader):
    """Of YAML without references: a few of them make a file of gigabytes out of a line."""

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("a reference with *; write the value in its place")
        return super().compose_node(parent, index)


def _read_yaml(file: Path):
    content = read_text(file, "yaml")
    try:
        return yaml.load(content, _PlainLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: no yaml file ({shorten(error)}); pass a SAM-2 yaml file") from None


def _refuse_variants(model: Mapping) -> None:
    attention = model["memory_attention"]["layer"]
    fixed = FIXED | {
        f"memory_attention.layer.cross_attention.{name}": attention["self_attention"][name]
        for name in ("num_heads", "downsample_rate", "rope_theta", "dropout")
    }
    for path, expected in fixed.items():
        value = model
        for key in path.split("."):
            value = value.get(key, expected) if isinstance(value, Mapping) else expected
        if value != expected:
            raise UserError(
                f"the SAM-2 config has {path}: {value}, but only {expected} can be converted; use another file"
            )


def mask_config_from_sam2(sam2: Mapping | str | Path) -> dict:
    """Values of `Sam2VideoConfig` from SAM-2's yaml; what the yaml leaves out has the default of SAM-2's code.

    Raises:
        `ValueError`: it is incomplete, or a variant that transformers does not have.
    """
    sam2 = read_sam2_config(sam2)
    try:
        _refuse_variants(sam2)
        return _mask_config(sam2)
    except KeyError as error:
        raise UserError(f"the SAM-2 config lacks {error}; pass a SAM-2 yaml file such as sam2_hiera_l.yaml") from None
    except (TypeError, AttributeError) as error:
        raise UserError(f"the SAM-2 config is wrong ({error}); pass a SAM-2 yaml file") from None


def _mask_config(sam2: Mapping) -> dict:
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
    stages = trunk.get("stages", [2, 3, 16, 3])
    scales = [2**stage for stage in range(len(stages))]
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "image_size": [image_size, image_size],
        "hidden_size": trunk["embed_dim"],
        "num_attention_heads": trunk["num_heads"],
        "blocks_per_stage": stages,
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
        "rope_parameters": {"rope_type": "axial", "rope_theta": float(rope["rope_theta"])},  # as 1e-6 below
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


# ---- from shapes

# what shapes do not show of SAM-2's four image encoders (its yaml files, which SAM 2.0 and 2.1 share in this)
IMAGE_ENCODERS = {
    "tiny": {"embed_dim": 96, "num_heads": 1, "stages": [1, 2, 7, 2], "global_att_blocks": [5, 7, 9]},
    "small": {"embed_dim": 96, "num_heads": 1, "stages": [1, 2, 11, 2], "global_att_blocks": [7, 10, 13]},
    "base_plus": {
        "embed_dim": 112,
        "num_heads": 2,
        "stages": [2, 3, 16, 3],
        "global_att_blocks": [12, 16, 20],
        "window_pos_embed_bkg_spatial_size": [14, 14],
    },
    "large": {
        "embed_dim": 144,
        "num_heads": 2,
        "stages": [2, 6, 36, 4],
        "global_att_blocks": [23, 33, 43],
        "window_spec": [8, 4, 16, 8],
    },
}
ROPE_ATTENTION = {"rope_theta": 10000.0, "num_heads": 1, "downsample_rate": 1, "dropout": 0.1}
MEMORY_ATTENTION = {
    "d_model": 256,
    "num_layers": 4,
    "layer": {"activation": "relu", "dim_feedforward": 2048, "dropout": 0.1, "self_attention": ROPE_ATTENTION},
}
MEMORY_ENCODER = {
    "out_dim": 64,
    "mask_downsampler": {"kernel_size": 3, "stride": 2, "padding": 1},
    "fuser": {"layer": {"dim": 256, "kernel_size": 7, "padding": 3, "layer_scale_init_value": 1e-6}, "num_layers": 2},
}
TRUNK = "image_encoder.trunk."
BLOCK = re.compile(re.escape(TRUNK) + r"blocks\.(\d+)\.mlp\.layers\.1\.bias")


def sam2_size(shapes: Mapping[str, Sequence[int]]) -> str:
    """Which of SAM-2's sizes ("tiny", "small", "base_plus", "large") weights under Meta's names are.

    Raises:
        `ValueError`: another size, or no SAM-2.

    Example:

        >>> sam2_size({f"image_encoder.trunk.blocks.{block}.mlp.layers.1.bias": [width] for block, width in enumerate(
        ...     [96] + [192] * 2 + [384] * 7 + [768] * 2)})
        'tiny'
    """
    blocks = sorted((int(match[1]), shapes[name][0]) for name in shapes if (match := BLOCK.fullmatch(name)))
    if not blocks:
        raise UserError("there are no SAM-2 weights; check that this is the right file")
    widths = [width for _, width in blocks]
    stages = [len(list(group)) for _, group in itertools.groupby(widths)]
    for size, encoder in IMAGE_ENCODERS.items():
        if (encoder["embed_dim"], encoder["stages"]) == (widths[0], stages):
            return size
    raise UserError(
        f"the image encoder has {stages} blocks from width {widths[0]}, which is none of SAM-2's sizes "
        f"{', '.join(IMAGE_ENCODERS)}; pass its yaml file (--sam2-config)"
    )


def sam2_config_from_shapes(shapes: Mapping[str, Sequence[int]]) -> dict:
    """The part of SAM-2's yaml that matters here, for weights of one of its four sizes, SAM 2.0 or 2.1.

    Args:
        shapes (`Mapping[str, Sequence[int]]`): under Meta's names.

    Raises:
        `ValueError`: another size, or no SAM-2.
    """
    trunk = {"window_pos_embed_bkg_spatial_size": [7, 7], **IMAGE_ENCODERS[sam2_size(shapes)]}
    neck = {
        "d_model": 256,
        "backbone_channel_list": [trunk["embed_dim"] * scale for scale in (8, 4, 2, 1)],
        "fpn_top_down_levels": [2, 3],
    }
    return {
        "image_size": 1024,
        "num_maskmem": 7,
        "sigmoid_scale_for_mem_enc": 20.0,
        "sigmoid_bias_for_mem_enc": -10.0,
        "no_obj_embed_spatial": "no_obj_embed_spatial" in shapes,
        "proj_tpos_enc_in_obj_ptrs": "obj_ptr_tpos_proj.weight" in shapes,
        "image_encoder": {"trunk": trunk, "neck": neck},
        "memory_attention": MEMORY_ATTENTION,
        "memory_encoder": MEMORY_ENCODER,
    }


__all__ = ["find_sam2_config", "mask_config_from_sam2", "read_sam2_config", "sam2_config_from_shapes", "sam2_size"]
