"""Pairs of a tiny vision-language model and a tiny mask model, with processors that fit them."""

import functools

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import PreTrainedTokenizerFast

from glus_hf import GLUSVLMConfig, GLUSVLMForVideoSegmentation, GLUSVLMProcessor
from glus_hf.models.glus_vlm.prompts_glus_vlm import ANSWERS, CONTEXT_SENTENCE, QUESTIONS
from glus_hf.models.vision_language_families import family_of
from tests.models.common import randomize
from tests.models.tiny_mask_models import mask_config
from tests.models.tiny_vlms import image_processor, vlm_config


WORDS = "the red green circle square moving left user assistant Frame at % : 0 50 100"
SPECIAL = ["<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
IMAGE_TOKENS = {"qwen": "<|image_pad|>", "internvl": "<IMG_CONTEXT>", "gemma3": "<image_soft_token>"}
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}PLACEHOLDER{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}"
)
PAIRS = [("qwen2_5_vl", "sam2_video"), ("smolvlm", "sam3_tracker_video"), ("gemma3", "edgetam_video")]


def image_token(family):
    return IMAGE_TOKENS.get(family.partition("_")[0].rstrip("23"), IMAGE_TOKENS.get(family, "<image>"))


def tokenizer(family, seg=True):
    marks = family_of(family)
    texts = [WORDS, CONTEXT_SENTENCE, *QUESTIONS, *ANSWERS]
    splitter = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits()])
    words = dict.fromkeys(word for text in texts for word, _ in splitter.pre_tokenize_str(text))
    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(["<unk>", *words])}, "<unk>"))
    backend.pre_tokenizer = splitter
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
    around = [mark for text in (marks.before, marks.after) for mark in text.replace(">", "> ").split()]
    made.add_tokens(
        [*SPECIAL[3:], *dict.fromkeys(around), image_token(family), *(["[SEG]"] if seg else [])], special_tokens=True
    )
    return made


def small_processor(family="qwen2_5_vl", mask="sam2_video", **options):
    settings = {"num_context_frames": 2, "num_query_frames": 3, "max_frame_tokens": 16, **options}
    template = TEMPLATE.replace("PLACEHOLDER", family_of(family).placeholder)
    side = mask_config(mask).image_size
    return GLUSVLMProcessor(
        image_processor(family),
        tokenizer(family),
        vlm_type=family,
        image_token=image_token(family),
        mask_size=side,
        chat_template=template,
        **settings,
    )


@functools.cache
def _model(family, mask):
    torch.manual_seed(0)
    processor = small_processor(family, mask)
    vlm = vlm_config(family, len(processor.tokenizer), processor.image_token_id)
    config = GLUSVLMConfig(
        vlm_config=vlm.to_dict(),
        mask_config=mask_config(mask).to_dict(),
        num_context_frames=2,
        num_query_frames=3,
        seg_token_id=processor.seg_token_id,
        memory_stride=2,
    )
    return randomize(GLUSVLMForVideoSegmentation(config), 0.05).eval()


def small_model(family="qwen2_5_vl", mask="sam2_video", answers=True):
    """In eval mode; its head has a bias so that it always answers [SEG]."""
    made = GLUSVLMForVideoSegmentation(_model(family, mask).config).eval()
    made.load_state_dict(_model(family, mask).state_dict())
    if answers:
        hidden, rows = made.config.get_text_config().hidden_size, made.config.get_text_config().vocab_size
        with torch.random.fork_rng():
            torch.manual_seed(1)
            made.vlm.lm_head = nn.Linear(hidden, rows)
        with torch.no_grad():
            made.vlm.lm_head.weight.mul_(0.1)
            made.vlm.lm_head.bias.zero_()[made.config.seg_token_id] = 10
    return made


def noise(num_frames=7, height=48, width=64, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (num_frames, height, width, 3), dtype=np.uint8)
