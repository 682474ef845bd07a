"""A GLUS of middle size with random weights, and clips for it: arithmetic decides its speed, yet a CPU runs it.

Llama 768 wide with 8 layers, CLIP 192 wide with 6 layers at 224 pixels, Hiera-tiny at 256 pixels; 64 tokens a frame,
4 context and 4 query frames, as the released checkpoints have them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from glus_hf import GLUSConfig, GLUSForVideoSegmentation, GLUSImageProcessor, GLUSProcessor
from glus_hf.training.word_tokenizer import build_word_tokenizer


MASK_SIZE = 256
HIERA_TINY = {
    "model_type": "sam2_hiera_det_model",
    "image_size": [MASK_SIZE, MASK_SIZE],
    "hidden_size": 96,
    "num_attention_heads": 1,
    "blocks_per_stage": [1, 2, 7, 2],
    "embed_dim_per_stage": [96, 192, 384, 768],
    "num_attention_heads_per_stage": [1, 2, 4, 8],
    "window_size_per_stage": [8, 4, 14, 7],
    "window_positional_embedding_background_size": [7, 7],
    "global_attention_blocks": [5, 7, 9],
}
COLOURS = ("red", "green", "blue", "yellow")
SHAPES = ("square", "circle", "cross", "triangle")
WAYS = ("", " moving left", " moving right", " that goes up and then comes back down")


def expressions(count: int) -> list[str]:
    """`count` different expressions of two to nine words."""
    numbers = range(count)
    return [f"{COLOURS[n % 4]} {SHAPES[n // 4 % 4]}{WAYS[(n + n // 4 + n // 16) % 4]}" for n in numbers]


def build_mid_size(seed: int = 0) -> tuple[GLUSForVideoSegmentation, GLUSProcessor]:
    """Model in eval mode and its processor. A bias of its head makes it always answer [SEG]."""
    torch.manual_seed(seed)
    processor = GLUSProcessor(
        GLUSImageProcessor(mask_size={"height": MASK_SIZE, "width": MASK_SIZE}),
        build_word_tokenizer(expressions(64)),
    )
    model = GLUSForVideoSegmentation(_config(processor))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:  # at 0.02 all videos and expressions would look alike
                nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    model.lm_head = nn.Linear(model.config.text_config.hidden_size, len(processor.tokenizer))
    with torch.no_grad():
        model.lm_head.weight.mul_(0.1)
        model.lm_head.bias.zero_()[processor.seg_token_id] = 10
    return model.eval(), processor


def _config(processor: GLUSProcessor) -> GLUSConfig:
    mask_config = {
        "image_size": MASK_SIZE,
        "vision_config": {
            "model_type": "sam2_vision_model",
            "backbone_config": HIERA_TINY,
            "backbone_channel_list": [768, 384, 192, 96],
            "backbone_feature_sizes": [[MASK_SIZE // stride] * 2 for stride in (4, 8, 16)],
        },
        "prompt_encoder_config": {"image_size": MASK_SIZE},
        "memory_attention_rope_feat_sizes": [MASK_SIZE // 16] * 2,
        "enable_occlusion_spatial_embedding": False,
        "enable_temporal_pos_encoding_for_object_pointers": False,
    }
    return GLUSConfig(
        vision_config={
            "hidden_size": 192,
            "intermediate_size": 768,
            "num_hidden_layers": 6,
            "num_attention_heads": 6,
            "image_size": 224,
            "patch_size": 14,
        },
        text_config={
            "vocab_size": len(processor.tokenizer),
            "hidden_size": 768,
            "intermediate_size": 2048,
            "num_hidden_layers": 8,
            "num_attention_heads": 12,
            "max_position_embeddings": 2048,
        },
        mask_config=mask_config,
        seg_token_id=processor.seg_token_id,
    )


def noisy_clip(num_frames: int, height: int = 360, width: int = 640, seed: int = 0) -> list[np.ndarray]:
    """Frames `uint8 [height, width, 3]` of a soft noise that drifts, so that every frame differs from the last."""
    small = np.random.default_rng(seed).random((height // 20 + num_frames, width // 20, 3))
    coarse = [small[index : index + height // 20] for index in range(num_frames)]
    return [(255 * np.kron(frame, np.ones((20, 20, 1)))).astype(np.uint8) for frame in coarse]


__all__ = ["build_mid_size", "expressions", "noisy_clip"]
