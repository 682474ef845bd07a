"""A tiny Qwen3-VL with the mask branch of glus-tiny: architecture, words and initial values."""

from __future__ import annotations

import math

import torch
from tiny_batches import SIZE
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import PreTrainedTokenizerFast
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from glus_hf import GLUSForVideoSegmentation, GLUSVLMConfig, GLUSVLMForVideoSegmentation, GLUSVLMProcessor
from glus_hf.data.motion_shapes.language import vocabulary
from glus_hf.models.glus_vlm.prompts_glus_vlm import ANSWERS, CONTEXT_SENTENCE, QUESTIONS


HIDDEN, PATCH, MERGE, CONTEXT, QUERIES = 128, 8, 1, 4, 2
SIDE = SIZE // (PATCH * MERGE)  # tokens along a side of a frame
MARKS = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "[SEG]"]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}"
    "{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
)


def build_processor() -> GLUSVLMProcessor:
    """Words of MotionShapes and of the templates, one id each; frames of 64 pixels, 64 tokens each; times in words."""
    splitter = pre_tokenizers.Whitespace()
    texts = [*vocabulary(), CONTEXT_SENTENCE, *QUESTIONS, *ANSWERS, "user assistant Frame at %:"]
    words = dict.fromkeys(word for text in texts for word, _ in splitter.pre_tokenize_str(text))
    known = ["<unk>", *words, *map(str, range(101))]
    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(dict.fromkeys(known))}, "<unk>"))
    backend.pre_tokenizer = splitter
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", pad_token="<pad>")
    tokenizer.add_tokens(MARKS, special_tokens=True)
    size = {"shortest_edge": SIZE**2, "longest_edge": SIZE**2}
    return GLUSVLMProcessor(
        Qwen2VLImageProcessorPil(patch_size=PATCH, merge_size=MERGE, size=size),
        tokenizer,
        vlm_type="qwen3_vl",
        image_token="<|image_pad|>",
        num_query_frames=QUERIES,
        max_frame_tokens=SIDE**2,
        mask_size=SIZE,
        frame_times=True,
        chat_template=TEMPLATE,
    )


def build_vlm(seed: int = 0) -> tuple[GLUSVLMForVideoSegmentation, GLUSVLMProcessor]:
    """A new vision-language model, and the trained mask branch of glus-tiny."""
    torch.manual_seed(seed)
    processor, tiny = build_processor(), GLUSForVideoSegmentation.from_pretrained("glus-tiny")
    ids = processor.tokenizer.convert_tokens_to_ids
    rope = {"rope_type": "default", "mrope_section": [6, 5, 5], "mrope_interleaved": True, "rope_theta": 100.0}
    vlm = {
        "model_type": "qwen3_vl",
        "text_config": {
            "hidden_size": HIDDEN,
            "intermediate_size": 384,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "head_dim": 32,
            "vocab_size": len(processor.tokenizer),
            "max_position_embeddings": 2048,
            "rope_parameters": rope,
        },
        "vision_config": {
            "depth": 3,
            "hidden_size": HIDDEN,
            "intermediate_size": 384,
            "num_heads": 4,
            "out_hidden_size": HIDDEN,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
            "num_position_embeddings": (SIZE // PATCH) ** 2,
            "deepstack_visual_indexes": [0, 1],
        },
        "image_token_id": ids("<|image_pad|>"),
        "video_token_id": len(processor.tokenizer) + 1,
        "vision_start_token_id": ids("<|vision_start|>"),
        "vision_end_token_id": ids("<|vision_end|>"),
    }
    config = GLUSVLMConfig(
        vlm_config=vlm,
        mask_config=tiny.config.mask_config.to_dict(),
        num_query_frames=QUERIES,
        seg_token_id=processor.seg_token_id,
        multimask_fallback=False,
        detach_memory=False,
    )
    model = GLUSVLMForVideoSegmentation(config)
    initialize(model)
    initialize_numbers(model, ids(list(map(str, range(101)))))
    model.mask_model.load_state_dict(tiny.model.mask_model.state_dict())
    return model, processor


@torch.no_grad()
def initialize(model: GLUSVLMForVideoSegmentation) -> None:
    """As glus-tiny: the initial values of transformers are far too small for 128 channels."""
    for part in (model.vlm, model.seg_projection):
        for module in part.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.06)
    visual = model.vlm.model.visual
    nn.init.normal_(visual.patch_embed.proj.weight, std=visual.patch_embed.proj.weight[0].numel() ** -0.5)
    nn.init.normal_(visual.pos_embed.weight, std=0.5)
    nn.init.normal_(model.get_input_embeddings().weight, std=0.6)


@torch.no_grad()
def initialize_numbers(model: GLUSVLMForVideoSegmentation, ids: list[int]) -> None:
    """Numbers of the times start near their neighbours: most of a hundred words are rare, and time is one line."""
    angles = torch.linspace(0, 1, len(ids))[:, None] * math.pi * 2.0 ** torch.arange(4)
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows = waves @ torch.randn(waves.shape[1], HIDDEN)
    model.get_input_embeddings().weight[ids] = 0.6 * rows / rows.std()
