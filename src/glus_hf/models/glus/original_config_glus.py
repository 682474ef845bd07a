"""The configuration: the original `config.json` <-> [`GLUSConfig`]."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from transformers import LlamaConfig

from ...conversion.llava_config import TEXT_FIELDS, VISION_FIELDS, pick_fields, refuse_rope_scaling
from ...conversion.sam2_config import mask_config_from_sam2, read_sam2_config
from ...errors import UserError
from .configuration_glus import GLUSConfig


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
        `ValueError`: the mask prompt is not as wide as the mask branch, or positions are scaled (no released
            checkpoint does that).
    """
    sam2_config = read_sam2_config(sam2_config)
    refuse_rope_scaling(config)
    clip_config = clip_config.get("vision_config") or clip_config
    converted = GLUSConfig(
        text_config=pick_fields(config, TEXT_FIELDS),
        vision_config=pick_fields(clip_config, VISION_FIELDS),
        mask_config=mask_config_from_sam2(sam2_config),
        vision_feature_layer=config["mm_vision_select_layer"],
        seg_token_id=seg_token_id,
    )
    if config["out_dim"] != converted.seg_embedding_size:
        raise UserError(
            f"[SEG] is projected to {config['out_dim']} dimensions, but the SAM-2 config has d_model "
            f"{converted.seg_embedding_size}; pass the yaml file that belongs to the checkpoint."
        )
    layers = converted.vision_config.num_hidden_layers
    if not -layers - 1 <= converted.vision_feature_layer <= layers:
        raise UserError(
            f"mm_vision_select_layer is {converted.vision_feature_layer}, but CLIP has {layers} layers; check --clip"
        )
    return converted


# what the original code writes and never varies
UPSTREAM_CONSTANTS = {
    "architectures": ["GLUSForCausalLM"],
    "model_type": "llava",
    "freeze_mm_mlp_adapter": True,
    "image_aspect_ratio": "square",
    "image_grid_pinpoints": None,
    "mask_threshold": 0.0,
    "max_hole_area": 0.0,
    "max_sprinkle_area": 0.0,
    "mm_use_im_patch_token": False,
    "mm_use_im_start_end": True,
    "mm_vision_select_feature": "patch",
    "mm_vision_tower": "openai/clip-vit-large-patch14",
    "pretrain_mm_mlp_adapter": None,
    "pretraining_tp": 1,
    "rope_scaling": None,
    "tie_word_embeddings": False,
    "train_mask_decoder": True,
    "transformers_version": "4.31.0",
    "tune_mm_mlp_adapter": False,
    "use_cache": False,
    "use_mm_proj": True,
    "vision_tower": "openai/clip-vit-large-patch14",
}


def upstream_from_config(config: GLUSConfig, original: Mapping | None = None) -> dict:
    """Content of the original `config.json`.

    Args:
        config ([`GLUSConfig`]): of the model.
        original (`Mapping`, *optional*): the `config.json` it was converted from; its fields stay as they are, and
            those that it leaves to defaults are left to them, unless the model's sizes say otherwise.

    Example:

        >>> upstream_from_config(GLUSConfig())["out_dim"]
        256
    """
    sizes = {
        **_text_sizes(config.text_config),
        "mm_hidden_size": config.vision_config.hidden_size,
        "mm_vision_select_layer": config.vision_feature_layer,
        "out_dim": config.seg_embedding_size,
    }
    if original is None:
        return {**UPSTREAM_CONSTANTS, **sizes}
    implied = _text_sizes(LlamaConfig(**pick_fields(original, TEXT_FIELDS)))
    changed = {name: size for name, size in sizes.items() if name in original or size != implied.get(name)}
    return {**original, **changed}


def _text_sizes(config: LlamaConfig) -> dict:
    fields = config.to_dict()
    fields["rope_theta"] = (fields.get("rope_parameters") or {}).get("rope_theta", 10000.0)
    return pick_fields(fields, TEXT_FIELDS)


__all__ = ["config_from_upstream", "upstream_from_config"]
