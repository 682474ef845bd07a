"""What numbers of a configuration may be, before anything is built from them: far beyond any model there is, but no
size that fills the memory, no list that takes hours, nothing that is no finite number."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral

from ..errors import CheckpointError, UserError
from .json_fields import MAX_DEPTH, depth, is_finite, shorten


MAX_NUMBER = 10**7  # of a whole number without bounds of its own
MAX_FLOAT = 1e12
MAX_TEXT = 4096
MAX_LIST = 4096
MAX_FIELDS = 200_000  # with those of labels

SIZE, COUNT, RATE, WEIGHT = (1, 2**17), (1, 1024), (0, 1), (0, 1e6)
BOUNDS: dict[str, tuple[float, float]] = {
    # language model and tower
    "hidden_size": SIZE,
    "intermediate_size": (1, 2**20),
    "num_hidden_layers": COUNT,
    "num_attention_heads": COUNT,
    "num_key_value_heads": COUNT,
    "head_dim": (1, 4096),
    "vocab_size": (1, 10**7),
    "max_position_embeddings": (1, 10**9),
    "projection_dim": SIZE,
    "num_channels": (1, 64),
    "image_size": (1, 8192),
    "patch_size": (1, 1024),
    "rope_theta": (1e-6, 1e12),
    "factor": (1e-6, 1e6),
    "rms_norm_eps": (0, 0.1),
    "layer_norm_eps": (0, 0.1),
    "attention_dropout": RATE,
    "dropout": RATE,
    "initializer_range": (0, 1e3),
    "initializer_factor": (0, 1e3),
    "num_labels": (0, 10**5),
    "chunk_size_feed_forward": (0, 2**20),
    "pretraining_tp": (1, 1),  # more computes in parts, which no released checkpoint does
    # mask branch
    "embed_dim_per_stage": SIZE,
    "blocks_per_stage": (1, 512),
    "num_attention_heads_per_stage": COUNT,
    "window_size_per_stage": (1, 1024),
    "window_positional_embedding_background_size": (1, 1024),
    "global_attention_blocks": (0, 2048),
    "num_query_pool_stages": (0, 16),
    "query_stride": (1, 16),
    "patch_kernel_size": (1, 1024),
    "patch_stride": (1, 1024),
    "patch_padding": (0, 512),
    "mlp_ratio": (1e-3, 64),
    "backbone_channel_list": SIZE,
    "backbone_feature_sizes": (1, 8192),
    "fpn_hidden_size": SIZE,
    "fpn_kernel_size": (1, 64),
    "fpn_stride": (1, 64),
    "fpn_padding": (0, 64),
    "fpn_top_down_levels": (0, 16),
    "num_feature_levels": (1, 16),
    "mask_input_channels": (1, 4096),
    "num_point_embeddings": (1, 1024),
    "scale": (1e-6, 1e6),
    "mlp_dim": SIZE,
    "attention_downsample_rate": (1, 64),
    "num_multimask_outputs": (1, 64),
    "iou_head_depth": (1, 64),
    "iou_head_hidden_dim": SIZE,
    "dynamic_multimask_stability_delta": (0, 1e3),
    "dynamic_multimask_stability_thresh": RATE,
    "num_maskmem": (0, 1024),
    "max_object_pointers_in_encoder": (0, 1024),
    "max_cond_frame_num": (-1, 10**6),
    "multimask_min_pt_num": (0, 10**6),
    "multimask_max_pt_num": (0, 10**6),
    "sigmoid_scale_for_mem_enc": (-1e4, 1e4),
    "sigmoid_bias_for_mem_enc": (-1e4, 1e4),
    "memory_attention_hidden_size": SIZE,
    "memory_attention_num_layers": (1, 128),
    "memory_attention_num_attention_heads": COUNT,
    "memory_attention_downsample_rate": (1, 64),
    "memory_attention_feed_forward_hidden_size": (1, 2**20),
    "memory_attention_dropout": RATE,
    "memory_attention_rope_theta": (1e-6, 1e12),
    "memory_attention_rope_feat_sizes": (1, 1024),
    "memory_attention_rope_dropout": RATE,
    "memory_encoder_hidden_size": SIZE,
    "memory_encoder_output_channels": SIZE,
    "mask_downsampler_embed_dim": SIZE,
    "mask_downsampler_kernel_size": (1, 64),
    "mask_downsampler_stride": (2, 64),
    "mask_downsampler_padding": (0, 64),
    "mask_downsampler_total_stride": (2, 1024),
    "memory_fuser_num_layers": (1, 128),
    "memory_fuser_embed_dim": SIZE,
    "memory_fuser_intermediate_dim": (1, 2**20),
    "memory_fuser_kernel_size": (1, 63),
    "memory_fuser_padding": (0, 64),
    "memory_fuser_layer_scale_init_value": (0, 1e3),
    # the same in SAM-2's own file
    "stages": (1, 512),
    "num_layers": (1, 128),
    "dim_feedforward": (1, 2**20),
    "dim": SIZE,
    "out_dim": SIZE,
    "in_dim": SIZE,
    "downsample_rate": (1, 64),
    # detector
    "bottleneck_sizes": SIZE,
    "d_model": SIZE,
    "encoder_layers": (1, 128),
    "decoder_layers": (1, 128),
    "encoder_ffn_dim": (1, 2**20),
    "decoder_ffn_dim": (1, 2**20),
    "encoder_attention_heads": COUNT,
    "decoder_attention_heads": COUNT,
    "encoder_n_points": (1, 64),
    "decoder_n_points": (1, 64),
    "num_queries": (1, 10**5),
    "fusion_dim": SIZE,
    "fusion_heads": COUNT,
    "fusion_dropout": RATE,
    "activation_dropout": RATE,
    "group_norm_groups": (1, 4096),
    "query_sine_features": (2, 2**14),
    "num_denoising": (0, 10**5),
    "denoising_noise_scale": (0, 1e3),
    "train_num_points": (1, 10**7),
    "oversample_ratio": (1, 1e3),
    "importance_sample_ratio": RATE,
    "class_loss_weight": WEIGHT,
    "mask_loss_weight": WEIGHT,
    "dice_loss_weight": WEIGHT,
    "box_loss_weight": WEIGHT,
    "giou_loss_weight": WEIGHT,
    "distill_loss_weight": WEIGHT,
    "embedding_size": SIZE,
    "hidden_sizes": SIZE,
    "depths": (1, 512),
    "embed_dim": SIZE,
    "num_heads": COUNT,
    "window_size": (1, 1024),
    "hidden_dropout_prob": RATE,
    "attention_probs_dropout_prob": RATE,
    "drop_path_rate": RATE,
    "global_attention_indexes": (0, 2048),
    "position_grid": (1, 512),
    "rope_grid": (1, 1024),
    "pyramid_channels": SIZE,
    "max_text_tokens": (1, 10**5),
    "max_names": (1, 10**6),
    "prompt_crop_size": (1, 2048),
    "prompt_crop_factor": (1e-2, 100),
    "prompt_num_points": (1, 2**16),
    "track_num_negatives": (0, 10**5),
    "confidence_loss_weight": WEIGHT,
    "track_loss_weight": WEIGHT,
    "temporal_similarity_weight": WEIGHT,
    "size_divisor": (1, 4096),
    "pad_value": (0, 255),
    # SAM 3
    "low_res_mask_size": (1, 4096),
    "max_num_objects": (1, 10**5),
    "hotstart_delay": (0, 10**4),
    "recondition_every_nth_frame": (0, 10**6),
    # ours
    "num_context_frames": (0, 1024),
    "num_query_frames": (1, 1024),
    "num_detection_frames": (1, 1024),
    "image_token_pooling": (1, 4096),
    "vision_feature_layer": (-1024, 1024),
    "memory_stride": (1, 10**6),
    "training_memory_stride": (1, 10**6),
    "spatial_clusters": (-1, 2**16),
    "spatial_neighbours": (-1, 2**16),
    "temporal_cluster_rate": (0, 1024),
    "temporal_neighbours": (1, 2**16),
    "score_head_size": SIZE,
    "ce_loss_weight": WEIGHT,
    "mask_bce_loss_weight": WEIGHT,
    "mask_dice_loss_weight": WEIGHT,
    "score_loss_weight": WEIGHT,
    "num_image_tokens": (1, 2**16),
    "max_images": (2, 1024),
    "max_expression_tokens": (1, 10**5),
}
"""By name of a number, or of the numbers in a list: the least and the largest it may be."""

KERNELS = (None, "eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")
ATTENTION = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal")
DTYPES = (None, "auto", "float32", "float64", "bfloat16", "float16")


def check_numbers(fields: dict, where: str = "config.json") -> None:
    """Refuse numbers out of bounds in nested fields.

    Args:
        fields: a configuration as an object of JSON.
        where: what to call it.

    Raises:
        CheckpointError: it has such a number, or more fields, longer texts or lists than a configuration has; one
            line that names the field.

    Example:
        >>> check_numbers({"text_config": {"hidden_size": 0}})
        Traceback (most recent call last):
        CheckpointError: config.json: text_config.hidden_size is 0; it must be from 1 to 131072
    """
    if depth(fields) > MAX_DEPTH:
        raise CheckpointError(f"{where}: is nested more than {MAX_DEPTH} deep; use the file saved with the weights")
    for count, (path, name, value) in enumerate(_leaves(fields)):
        if count > MAX_FIELDS:
            raise CheckpointError(f"{where}: has more than {MAX_FIELDS} values; use the file saved with the weights")
        problem = _problem(name, value)
        if problem:
            raise CheckpointError(f"{where}: {path} is {shorten(repr(value), 40)}; {problem}")


def _leaves(fields: dict) -> Iterator[tuple[str, str, object]]:
    """(path, name of the field that holds it, value) of everything that is no object."""
    waiting = [(str(key), str(key), value) for key, value in fields.items()]
    while waiting:
        path, name, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(f"{path}.{key}"[-MAX_TEXT:], str(key), inner) for key, inner in value.items()]
        elif isinstance(value, (list, tuple)):
            yield path, name, value
            waiting += [(path, name, inner) for inner in value[: MAX_LIST + 1]]
        else:
            yield path, name, value


def _problem(name: str, value: object) -> str | None:
    """What a value must be instead."""
    if isinstance(value, (list, tuple)):
        return f"use at most {MAX_LIST} entries" if len(value) > MAX_LIST else None
    if isinstance(value, str):
        return _text_problem(name, value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    least, most = BOUNDS.get(name, (-MAX_NUMBER, MAX_NUMBER) if isinstance(value, int) else (-MAX_FLOAT, MAX_FLOAT))
    if not is_finite(value) or not least <= value <= most:
        return f"it must be from {least} to {most}"
    return None


def _text_problem(name: str, value: str) -> str | None:
    if name in ATTENTION and value not in KERNELS:
        return f"it must be one of {', '.join(map(str, KERNELS[1:]))}"
    if name in ("dtype", "torch_dtype") and value.removeprefix("torch.") not in DTYPES:
        return f"it must be one of {', '.join(map(str, DTYPES[1:]))}"
    return f"use at most {MAX_TEXT} letters" if len(value) > MAX_TEXT else None


def check_names(config_class: type, fields: dict, where: str = "config.json") -> None:
    """Refuse fields that would take the place of methods and settings of a configuration's class.

    Raises:
        CheckpointError: there is one; one line.
    """
    for name in map(str, fields):
        known = getattr(config_class, name, None)
        is_own = name in getattr(config_class, "__dataclass_fields__", {})
        is_fixed = callable(known) or (isinstance(known, property) and known.fset is None)
        if not is_own and (is_fixed or name.startswith("__") or name in RESERVED):
            shown = shorten(name, 40)
            raise CheckpointError(f"{where}: {shown} cannot be a field; use the file saved with the weights")


def check_token_ids(config, answer: str) -> None:
    """Refuse a token of the answer without a row in the embeddings, and image positions that have one.

    Args:
        config: has `image_token_id` and `text_config`.
        answer: name of the field of the other, which may be None or not there.

    Raises:
        CheckpointError: one line.
    """
    rows, token, image = config.text_config.vocab_size, getattr(config, answer, None), config.image_token_id
    if token is not None and not 0 <= token < rows:
        raise CheckpointError(f"{type(config).__name__}.{answer} is {token}; it must be from 0 to {rows - 1}")
    if 0 <= image < rows:
        raise CheckpointError(f"{type(config).__name__}.image_token_id is {image}; it must be no token, as -200 is")


def check_whole_numbers(**settings: int) -> None:
    """Refuse settings of a processor that are no whole numbers, or out of bounds.

    Example:
        >>> check_whole_numbers(num_context_frames=10**9)
        Traceback (most recent call last):
        UserError: num_context_frames is 1000000000; it must be a whole number from 0 to 1024
    """
    for name, value in settings.items():
        least, most = BOUNDS.get(name, (-MAX_NUMBER, MAX_NUMBER))
        if not isinstance(value, Integral) or isinstance(value, bool) or not least <= value <= most:
            shown = shorten(repr(value), 40)
            raise UserError(f"{name} is {shown}; it must be a whole number from {least} to {most}")


RESERVED = ("sub_configs", "attribute_map", "base_config_key", "keys_to_ignore_at_inference")

__all__ = ["BOUNDS", "check_names", "check_numbers", "check_token_ids", "check_whole_numbers"]
