"""A random GLUS small enough for unit tests, with a processor that fits it."""

import torch
from torch import nn

from glus_hf import GLUSConfig, GLUSForVideoSegmentation, GLUSImageProcessor, GLUSProcessor
from glus_hf.training.word_tokenizer import build_word_tokenizer
from tests.models.common import randomize


SEG, VOCABULARY, PAD = 3, 40, 0
QUERIES = 4
WORDS = ["the red green blue small tiny square circle cross triangle moving going left up"]


def glus_config(image=32, patch=8, mask_size=64, pooling=4, **overrides):
    """The smallest GLUS: one context and four query frames, widths of 32."""
    hiera = {
        "image_size": [mask_size, mask_size],
        "hidden_size": 8,
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 2, 2],
        "window_size_per_stage": [4, 2, 2, 2],
        "window_positional_embedding_background_size": [3, 3],
        "global_attention_blocks": [3],
    }
    mask_config = {
        "image_size": mask_size,
        "vision_config": {
            "model_type": "sam2_vision_model",
            "backbone_config": {"model_type": "sam2_hiera_det_model", **hiera},
            "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[mask_size // stride] * 2 for stride in (4, 8, 16)],
            "fpn_hidden_size": 32,
        },
        "prompt_encoder_config": {"hidden_size": 32, "image_size": mask_size},
        "mask_decoder_config": {"hidden_size": 32, "mlp_dim": 32, "iou_head_hidden_dim": 16},
        "memory_attention_hidden_size": 32,
        "memory_attention_num_layers": 1,
        "memory_attention_feed_forward_hidden_size": 32,
        "memory_attention_dropout": 0.0,
        "memory_attention_rope_dropout": 0.0,
        "memory_attention_rope_feat_sizes": [mask_size // 16] * 2,
        "memory_encoder_hidden_size": 32,
        "mask_downsampler_embed_dim": 32,
        "memory_fuser_embed_dim": 32,
        "memory_fuser_intermediate_dim": 32,
        "enable_occlusion_spatial_embedding": False,
        "enable_temporal_pos_encoding_for_object_pointers": False,
    }
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2}
    return GLUSConfig(
        vision_config={**sizes, "num_hidden_layers": 3, "image_size": image, "patch_size": patch},
        text_config={**sizes, "num_hidden_layers": 2, "vocab_size": VOCABULARY, "max_position_embeddings": 256},
        mask_config=mask_config,
        num_context_frames=1,
        num_query_frames=QUERIES,
        image_token_pooling=pooling,
        seg_token_id=SEG,
        **overrides,
    )


def small_processor() -> GLUSProcessor:
    views = GLUSImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, mask_size={"height": 64, "width": 64}
    )
    return GLUSProcessor(views, build_word_tokenizer(WORDS), num_image_tokens=4)


def small_model(seed: int = 0, **overrides) -> GLUSForVideoSegmentation:
    """In eval mode; its head has a bias so that it always answers [SEG]."""
    torch.manual_seed(seed)
    processor = small_processor()
    config = glus_config(**overrides)
    config.num_context_frames, config.num_query_frames = processor.num_context_frames, processor.num_query_frames
    config.seg_token_id = processor.seg_token_id
    config.text_config.vocab_size = len(processor.tokenizer)
    config.text_config.max_position_embeddings = 2048
    model = GLUSForVideoSegmentation(config)
    randomize(model)  # 0.02 is so small that all videos and expressions would look alike
    model.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size)
    with torch.no_grad():
        model.lm_head.weight.mul_(0.1)
        model.lm_head.bias.zero_()[config.seg_token_id] = 10
    return model.eval()


def freeze_pretrained_parts(model: GLUSForVideoSegmentation) -> None:
    """Freeze what the public program never trains: CLIP, and SAM-2 but the parts of its decoder with a gradient."""
    model.model.vision_tower.requires_grad_(False)
    model.model.mask_model.requires_grad_(False)
    decoder = model.model.mask_model.mask_decoder
    unused = (decoder.conv_s0, decoder.conv_s1, decoder.iou_prediction_head, decoder.pred_obj_score_head)
    decoder.requires_grad_(True)
    for module in (*unused, *decoder.output_hypernetworks_mlps[1:]):
        module.requires_grad_(False)
