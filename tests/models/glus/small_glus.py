"""A random GLUS small enough for unit tests, with a processor that fits it."""

import torch
from torch import nn

from glus_hf import GLUSForVideoSegmentation, GLUSImageProcessor, GLUSProcessor
from glus_hf.training.word_tokenizer import build_word_tokenizer
from tests.models.common import randomize
from tests.models.glus.test_modeling_glus import glus_config


WORDS = ["the red green blue small tiny square circle cross triangle moving going left up"]


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
