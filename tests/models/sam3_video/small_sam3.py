"""A tiny SAM 3 for videos with random weights, which finds objects everywhere."""

import functools

import torch
from transformers import BertTokenizerFast, Sam3VideoConfig, Sam3VideoModel

from glus_hf import Sam3PhraseConfig, Sam3PhraseForVideoSegmentation, Sam3PhraseProcessor
from tests.models.common import randomize
from tests.models.tiny_mask_models import SAM3_VISION, shared


WIDTH = 128  # twice that of the memories, which transformers has fixed

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "red", "car", "dog", "a"]


def sam3_config(**settings):
    layers = {"hidden_size": WIDTH, "num_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    text = {"model_type": "clip_text_model", "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
    text |= {
        "bos_token_id": 2,
        "eos_token_id": 3,
        "num_attention_heads": 2,
        "vocab_size": len(WORDS),
        "max_position_embeddings": 32,
        "projection_dim": 16,
    }
    vision = {**SAM3_VISION, "fpn_hidden_size": WIDTH}
    detector = {
        "model_type": "sam3",
        "vision_config": vision,
        "text_config": text,
        "geometry_encoder_config": layers,
        "detr_encoder_config": layers,
        "detr_decoder_config": {**layers, "num_queries": 4},
        "mask_decoder_config": {"hidden_size": WIDTH, "num_attention_heads": 2},
    }
    thresholds = {"score_threshold_detection": 0.0, "new_det_thresh": 0.0, "high_conf_thresh": 0.0}
    delay = {"hotstart_delay": 2, "hotstart_unmatch_thresh": 2, "hotstart_dup_thresh": 2}
    options = {"low_res_mask_size": 32, "recondition_every_nth_frame": 3, "max_num_objects": 3, "fill_hole_area": 0}
    tracker = {"model_type": "sam3_tracker_video", "vision_config": vision, "image_size": 112, **shared(112, 8, WIDTH)}
    tracker |= {"memory_attention_feed_forward_hidden_size": 32}
    tracker |= {"num_maskmem": 3, "max_object_pointers_in_encoder": 4, "max_cond_frame_num": 2}
    settings = {**thresholds, **delay, **options, **settings}
    return Sam3VideoConfig(detector_config=detector, tracker_config=tracker, **settings)


@functools.cache
def tiny_sam3():
    torch.manual_seed(0)
    return randomize(Sam3VideoModel(sam3_config()), 0.05).eval()


def small_model(**settings):
    config = Sam3PhraseConfig(sam3_config=sam3_config(**settings).to_dict())
    model = Sam3PhraseForVideoSegmentation(config).eval()
    model.sam3.load_state_dict(tiny_sam3().state_dict())
    return model


def tokenizer():
    return BertTokenizerFast(vocab={word: index for index, word in enumerate(WORDS)})


def small_processor():
    return Sam3PhraseProcessor(tokenizer(), mask_size=112)
