"""A random selector small enough for unit tests, with a processor that fits it."""

import torch
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from glus_hf import GLUSSelector, GLUSSelectorConfig, GLUSSelectorProcessor
from glus_hf.models.glus_selector.processing_glus_selector import QUESTIONS, SYSTEM_PROMPT
from glus_hf.training.word_tokenizer import build_word_tokenizer
from tests.models.common import randomize


WORDS = [SYSTEM_PROMPT, *QUESTIONS, "Sure, it the prediction result is . red green blue square circle moving left"]
SCORE, VOCABULARY, PAD = 3, 40, 0
CLUSTERS = (8, 4, 2)
SIZES = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2}


def selector_config(
    image=32, patch=8, clusters=CLUSTERS, config_class=GLUSSelectorConfig, vocab_size=VOCABULARY, **overrides
):
    """The smallest selector: 16 patches, 14 tokens of an image, widths of 32."""
    if config_class is GLUSSelectorConfig:
        overrides = {"score_token_id": SCORE, "score_head_size": 16} | overrides
    return config_class(
        vision_config={**SIZES, "num_hidden_layers": 3, "image_size": image, "patch_size": patch},
        text_config={**SIZES, "num_hidden_layers": 2, "vocab_size": vocab_size, "max_position_embeddings": 512},
        spatial_clusters=clusters,
        **overrides,
    )


def small_processor(image=32, num_image_tokens=14, **options):
    tokenizer = build_word_tokenizer(WORDS)
    tokenizer.add_tokens(["[SCORE]"])
    views = CLIPImageProcessorPil(size={"shortest_edge": image}, crop_size={"height": image, "width": image})
    return GLUSSelectorProcessor(views, tokenizer, num_image_tokens=num_image_tokens, **options)


def small_selector(seed=0, **overrides):
    """In eval mode, and its processor."""
    processor = small_processor()
    vocab_size = len(processor.tokenizer)
    config = selector_config(score_token_id=processor.score_token_id, vocab_size=vocab_size, **overrides)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = randomize(GLUSSelector(config)).eval()
    return model, processor
