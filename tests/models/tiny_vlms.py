"""Tiny vision-language models with random weights, one of every family, and image processors that fit them."""

import importlib

import numpy as np
import torch
import transformers
from transformers import AutoModelForImageTextToText

from tests.models.common import randomize


VOCABULARY, IMAGE = 128, 120
SMALL_TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def text_config(vocabulary, **options):
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4}
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    positions = {"max_position_embeddings": 4096}
    return {**sizes, "num_key_value_heads": 2, "vocab_size": vocabulary, **positions, **special, **options}


def mrope(section, **options):
    return {"rope_parameters": {"rope_type": "default", "mrope_section": section, "rope_theta": 10000.0, **options}}


def qwen(section, patch, vocabulary, image, depth=3, text=None, vision=None, **rope):
    tower = {"depth": depth, "hidden_size": 32, "intermediate_size": 64, "num_heads": 4, "out_hidden_size": 64}
    merging = {"patch_size": patch, "spatial_merge_size": 2, "temporal_patch_size": 2}
    return {
        "text_config": {**text_config(vocabulary, **(text or {})), **mrope(section, **rope)},
        "vision_config": {**tower, **merging, **(vision or {})},
        "image_token_id": image,
        "video_token_id": image + 1,
        "vision_start_token_id": image + 2,
        "vision_end_token_id": image + 3,
    }


def idefics(vocabulary, image):
    tower = {**SMALL_TOWER, "image_size": 64, "patch_size": 8}
    text = {"model_type": "llama", **text_config(vocabulary)}
    return {"text_config": text, "vision_config": tower, "scale_factor": 2, "image_token_id": image, "pad_token_id": 0}


def configs(vocabulary=VOCABULARY, image=IMAGE):
    """By family, the class of its configuration and what it takes."""
    deep = {"num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1, 2]}
    hybrid = ["linear_attention"] * 3 + ["full_attention"]
    linear = {"linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 16}
    linear |= {"linear_value_head_dim": 16, "linear_conv_kernel_dim": 4}
    llama, qwen2 = ({"model_type": kind, **text_config(vocabulary)} for kind in ("llama", "qwen2"))
    siglip = {"model_type": "siglip_vision_model", **SMALL_TOWER, "image_size": 56, "patch_size": 14}
    clip = {**siglip, "model_type": "clip_vision_model", "num_hidden_layers": 3}
    sliding = ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"]
    conv = {"model_type": "lfm2", "layer_types": ["conv", "full_attention"] * 2}
    siglip2 = {"model_type": "siglip2_vision_model", **SMALL_TOWER, "num_patches": 64, "patch_size": 16}
    return {
        "llava": {
            "text_config": llama,
            "vision_config": clip,
            "image_token_id": image,
            "image_seq_length": 16,
        },
        "smolvlm": idefics(vocabulary, image),
        "idefics3": idefics(vocabulary, image),
        "llava_onevision": {
            "text_config": qwen2,
            "vision_config": siglip,
            "image_token_id": image,
            "video_token_id": image + 1,
            "image_grid_pinpoints": [[56, 56], [56, 112], [112, 56], [112, 112]],
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "full",
        },
        "internvl": {
            "text_config": qwen2,
            "vision_config": {**SMALL_TOWER, "image_size": [56, 56], "patch_size": [14, 14]},
            "image_token_id": image,
            "downsample_ratio": 0.5,
        },
        "qwen2_5_vl": qwen([2, 3, 3], 14, vocabulary, image, vision={"window_size": 56, "fullatt_block_indexes": [2]}),
        "qwen3_vl": qwen([4, 2, 2], 16, vocabulary, image, 4, {"head_dim": 16}, deep, mrope_interleaved=True),
        "gemma3": {
            "text_config": text_config(vocabulary, head_dim=16, sliding_window=16, layer_types=sliding),
            "vision_config": siglip,
            "mm_tokens_per_image": 4,
            "image_token_id": image,
            "boi_token_index": image + 2,
            "eoi_token_index": image + 3,
        },
        "qwen3_5": qwen(
            [4, 2, 2],
            16,
            vocabulary,
            image,
            2,
            {"head_dim": 16, "layer_types": hybrid, **linear},
            {"num_position_embeddings": 64},
            mrope_interleaved=True,
            partial_rotary_factor=1.0,
        ),
        "lfm2_vl": {
            "text_config": {**text_config(vocabulary), **conv},
            "vision_config": siglip2,
            "image_token_id": image,
            "downsample_factor": 2,
            "projector_hidden_size": 64,
        },
    }


def vlm_config(family, vocabulary=VOCABULARY, image=IMAGE):
    return transformers.AutoConfig.for_model(family, **configs(vocabulary, image)[family])


def tiny_vlm(family, vocabulary=VOCABULARY, image=IMAGE):
    torch.manual_seed(0)
    return randomize(AutoModelForImageTextToText.from_config(vlm_config(family, vocabulary, image)), 0.02).eval()


def square(side):
    return {"height": side, "width": side}


PROCESSORS = {
    "llava": ("clip.image_processing_pil_clip.CLIPImageProcessorPil", {"crop_size": square(56)}),
    "smolvlm": ("smolvlm.image_processing_pil_smolvlm.SmolVLMImageProcessorPil", {}),
    "idefics3": ("idefics3.image_processing_pil_idefics3.Idefics3ImageProcessorPil", {}),
    "llava_onevision": (
        "llava_onevision.image_processing_pil_llava_onevision.LlavaOnevisionImageProcessorPil",
        {"size": square(56), "image_grid_pinpoints": [[56, 56], [112, 112]]},
    ),
    "internvl": ("got_ocr2.image_processing_pil_got_ocr2.GotOcr2ImageProcessorPil", {"size": square(56)}),
    "qwen2_5_vl": ("qwen2_vl.image_processing_pil_qwen2_vl.Qwen2VLImageProcessorPil", {"patch_size": 14}),
    "qwen3_vl": ("qwen2_vl.image_processing_pil_qwen2_vl.Qwen2VLImageProcessorPil", {"patch_size": 16}),
    "gemma3": ("gemma3.image_processing_pil_gemma3.Gemma3ImageProcessorPil", {"size": square(56)}),
}
PROCESSORS["llava"][1]["size"] = {"shortest_edge": 56}
PROCESSORS["qwen3_5"] = PROCESSORS["qwen3_vl"]
for name in ("smolvlm", "idefics3"):
    PROCESSORS[name][1].update(size={"longest_edge": 64}, max_image_size={"longest_edge": 64})


def image_processor(family):
    module, _, name = PROCESSORS[family][0].rpartition(".")
    return getattr(importlib.import_module(f"transformers.models.{module}"), name)(**PROCESSORS[family][1])


def noise(num_frames, height=60, width=80, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (num_frames, height, width, 3), dtype=np.uint8)
