"""A language model in 8 or 4 bit gives nearly the masks of the full weights. Needs bitsandbytes; a CPU will do."""

import numpy as np
import pytest
import torch
from transformers import BitsAndBytesConfig

from glus_hf import pipeline
from glus_hf.cli.demo import demo_clip


pytest.importorskip("bitsandbytes")

EIGHT_BIT = {"load_in_8bit": True}
FOUR_BIT = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
TASK = "referring-video-segmentation"


@pytest.fixture(scope="module")
def clip():
    clip, expression = demo_clip(seed=0)
    frames = list(clip.frames)
    segment = pipeline(TASK, model="glus-tiny")
    parts = segment.model.trainable_parts
    kept = [parts.head, parts.mask_model, *parts.projections, *parts.vision]  # what is not the language model
    return frames, expression.text, segment(frames, expression.text)["masks"], kept


@pytest.mark.parametrize("options, least", [(EIGHT_BIT, 0.99), (FOUR_BIT, 0.98)])
def test_masks_stay_nearly_the_same(clip, options, least):
    frames, text, full, kept = clip
    quantization = BitsAndBytesConfig(**options, bnb_4bit_compute_dtype=torch.float32, llm_int8_skip_modules=kept)
    segment = pipeline(TASK, model="glus-tiny", model_kwargs={"quantization_config": quantization})
    layer = segment.model.model.language_model.layers[0].self_attn.q_proj
    assert type(layer).__module__.startswith("bitsandbytes")
    assert type(segment.model.lm_head) is torch.nn.Linear
    masks = segment(frames, text)["masks"]
    assert np.logical_and(masks, full).sum() / np.logical_or(masks, full).sum() > least
