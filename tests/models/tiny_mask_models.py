"""Tiny mask models with random weights: SAM-2, SAM 3's tracker, and EdgeTAM with a backbone that needs no timm."""

import torch
from transformers import AutoConfig, AutoModel

from tests.models.common import randomize


WIDTH, SIDE = 32, 64
HIERA = {
    "model_type": "sam2_hiera_det_model",
    "image_size": [SIDE, SIDE],
    "hidden_size": 8,
    "blocks_per_stage": [1, 1, 2, 1],
    "embed_dim_per_stage": [8, 16, 32, 64],
    "num_attention_heads_per_stage": [1, 1, 2, 2],
    "window_size_per_stage": [4, 2, 2, 2],
    "window_positional_embedding_background_size": [3, 3],
    "global_attention_blocks": [3],
}
SAM2_VISION = {
    "model_type": "sam2_vision_model",
    "backbone_config": HIERA,
    "backbone_channel_list": [64, 32, 16, 8],
    "backbone_feature_sizes": [[SIDE // stride] * 2 for stride in (4, 8, 16)],
    "fpn_hidden_size": WIDTH,
}
SAM3_VISION = {
    "model_type": "sam3_vision_model",
    "backbone_config": {
        "model_type": "sam3_vit_model",
        "hidden_size": WIDTH,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 112,
        "pretrain_image_size": 56,
        "window_size": 4,
        "global_attn_indexes": [1],
    },
    "fpn_hidden_size": WIDTH,
    "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
}
PERCEIVER = {
    "perceiver_resampler_num_latents": 3,
    "perceiver_resampler_num_latents_2d": 4,
    "memory_attention_rope_k_sizes": [2, 2],
    "memory_attention_mlp_hidden_size": WIDTH,
}


def shared(side, features, width=WIDTH):
    """Options that all three have."""
    widths = ("memory_attention_hidden_size", "memory_encoder_hidden_size", "mask_downsampler_embed_dim")
    widths += ("memory_fuser_embed_dim", "memory_fuser_intermediate_dim")
    return {
        "prompt_encoder_config": {"hidden_size": width, "image_size": side, "patch_size": side // features},
        "mask_decoder_config": {"hidden_size": width, "mlp_dim": WIDTH, "iou_head_hidden_dim": 16},
        "memory_attention_num_layers": 1,
        "memory_attention_dropout": 0.0,
        "memory_attention_rope_dropout": 0.0,
        "memory_attention_rope_feat_sizes": [features, features],
        **dict.fromkeys(widths, width),
    }


MASK_MODELS = {
    "sam2_video": {"vision_config": SAM2_VISION, "image_size": SIDE, **shared(SIDE, 4)},
    "sam3_tracker_video": {"vision_config": SAM3_VISION, "image_size": 112, **shared(112, 8)},
    "edgetam_video": {"vision_config": SAM2_VISION, "image_size": SIDE, **shared(SIDE, 4), **PERCEIVER},
}
for name in ("sam2_video", "sam3_tracker_video"):
    MASK_MODELS[name]["memory_attention_feed_forward_hidden_size"] = WIDTH


def mask_config(name):
    return AutoConfig.for_model(name, **MASK_MODELS[name])


def tiny_mask_model(name):
    torch.manual_seed(0)
    return randomize(AutoModel.from_config(mask_config(name)), 0.05).eval()
