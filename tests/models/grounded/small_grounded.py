"""A small grounded engine with random weights, in the formats of the real parts."""

import functools

import numpy as np
import torch
from transformers import (
    BertConfig,
    BertTokenizerFast,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
    Sam2VideoConfig,
    Sam2VideoModel,
    SwinConfig,
)
from transformers.models.grounding_dino.image_processing_pil_grounding_dino import GroundingDinoImageProcessorPil

from glus_hf import GroundedConfig, GroundedForVideoSegmentation, GroundedProcessor
from glus_hf.models.grounded.configuration_grounded import resized_mask_config


SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [*SPECIAL, ".", "?", "the", "red", "car", "that", "turns", "left", "a", "dog"]
SIDE = 128
DETECTORS = {
    "grounding-dino": (GroundingDinoConfig, GroundingDinoForObjectDetection),
    "mm-grounding-dino": (MMGroundingDinoConfig, MMGroundingDinoForObjectDetection),
}


def detector_config(kind="grounding-dino"):
    stages = {"depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "out_features": ["stage2", "stage3", "stage4"]}
    text = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    layers = {"encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    return DETECTORS[kind][0](
        backbone_config=SwinConfig(image_size=64, embed_dim=24, window_size=4, **stages),
        text_config=BertConfig(vocab_size=len(WORDS), **text),
        d_model=32,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        num_queries=20,
        **layers,
    )


def mask_config():
    """A Hiera of four thin stages behind SAM-2's own widths, most of which transformers has fixed."""
    config = Sam2VideoConfig(num_maskmem=3, max_object_pointers_in_encoder=5, memory_attention_num_layers=1)
    backbone = config.vision_config.backbone_config
    widths = [16, 32, 64, 128]
    backbone.hidden_size, backbone.num_attention_heads = widths[0], 1
    backbone.blocks_per_stage, backbone.embed_dim_per_stage = [1, 1, 2, 1], widths
    backbone.num_attention_heads_per_stage, backbone.global_attention_blocks = [1, 1, 2, 2], [3]
    config.vision_config.backbone_channel_list = widths[::-1]
    return resized_mask_config(config, SIDE)


@functools.cache
def parts(kind="grounding-dino"):
    torch.manual_seed(0)
    masks = Sam2VideoModel(mask_config()).eval()
    with torch.no_grad():
        masks.memory_temporal_positional_encoding.normal_(std=0.5)  # all zero at first: no memory would matter
        masks.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(3.0)  # the object is there
    return DETECTORS[kind][1](detector_config(kind)).eval(), masks


def small_model(kind="grounding-dino", **settings):
    detector, masks = parts(kind)
    settings = {"no_target_threshold": None, "num_detection_frames": 3, **settings}
    config = GroundedConfig(detector_config=detector.config.to_dict(), mask_config=masks.config.to_dict(), **settings)
    return GroundedForVideoSegmentation(config, detector, masks).eval()


def image_processor():
    return GroundingDinoImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96})


def tokenizer():
    return BertTokenizerFast(vocab={word: index for index, word in enumerate(WORDS)})


def small_processor():
    return GroundedProcessor(image_processor(), tokenizer())


def noise(num_frames=8):
    return np.random.default_rng(0).integers(0, 255, (num_frames, 48, 64, 3), dtype=np.uint8)
