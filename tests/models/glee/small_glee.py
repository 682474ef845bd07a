"""Small models, processors and batches of GLEE, with random weights."""

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from glus_hf import GLEEConfig, GLEEForVideoSegmentation, GLEEImageProcessor, GLEEProcessor
from tests.models.common import randomize


LENGTH = GLEEConfig.tiny().text_config.max_position_embeddings
WORDS = ["red", "green", "blue", "circle", "square", "triangle", "large", "small", "the", "left", "of", "dog", "cat"]
START, END = 1, 2


def word_tokenizer(words=WORDS):
    """One id per word, between a start and an end token; the end token pads, as CLIP's does."""
    vocabulary = {"<unk>": 0, "<s>": START, "</s>": END} | {word: index + 3 for index, word in enumerate(words)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    specials = [("<s>", START), ("</s>", END)]
    backend.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=specials)
    names = {"unk_token": "<unk>", "pad_token": "</s>", "bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


def small_processor(short=64, long=96, **options):
    size = {"shortest_edge": short, "longest_edge": long}
    return GLEEProcessor(GLEEImageProcessor(size=size), word_tokenizer(), max_text_tokens=LENGTH, **options)


def small_model(seed=0, **overrides):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return randomize(GLEEForVideoSegmentation(GLEEConfig.tiny(**overrides)), seed=seed).eval()


def small_eva02(**overrides):
    """Windows that do not divide the grid, one layer that sees the whole image."""
    values = {
        "model_type": "glee_eva02",
        "hidden_size": 16,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 20,
        "patch_size": 8,
        "image_size": 96,
        "window_size": 5,
        "global_attention_indexes": [1],
        "position_grid": 3,
        "rope_grid": 4,
        "pyramid_channels": GLEEConfig.tiny().d_model,
    }
    return {**values, **overrides}


def random_labels(generator, count, height, width, classes=1):
    """Boxes inside the image, with masks of noise."""
    sizes = 0.1 + 0.3 * torch.rand(count, 2, generator=generator)
    centres = sizes / 2 + (1 - sizes) * torch.rand(count, 2, generator=generator)
    return {
        "class_labels": torch.randint(classes, (count,), generator=generator),
        "boxes": torch.cat([centres, sizes], 1),
        "masks": torch.rand(count, height, width, generator=generator) > 0.5,
    }
