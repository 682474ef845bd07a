"""Memory of training the GLUS recipe on vision-language models. A CALCULATION on the meta device, not a measurement.

    python benchmarks/vlm_memory.py

Sizes of the models are those of their published configurations, written down here; nothing is downloaded. The parts
are counted as in training_memory.py: weights, gradients and optimizer from the prepared model, activations as the
peak of live tensors of the language model, of the image encoder of SAM-2 and of decoding. The tower that sees the
frames is frozen and runs without gradients: its activations are not in it, nor what is listed there.
"""

from __future__ import annotations

import argparse
import contextlib
import warnings
from dataclasses import dataclass

import torch
from training_memory import GB, HALF, LiveTensors, MemoryBank, flash_attention
from transformers import logging as transformers_logging

from glus_hf import GLUSVLMConfig, GLUSVLMForVideoSegmentation
from glus_hf.models.recipe_losses import mask_losses
from glus_hf.training.trainable_parameters import group_of, prepare_model, trainable_parameters


SEG = 5
QWEN3_VL_2B = {
    "model_type": "qwen3_vl",
    "tie_word_embeddings": True,
    "text_config": {
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151936,
    },
    "vision_config": {
        "depth": 24,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_heads": 16,
        "out_hidden_size": 2048,
        "patch_size": 16,
        "deepstack_visual_indexes": [5, 11, 17],
    },
}
SMOLVLM2_500M = {
    "model_type": "smolvlm",
    "text_config": {
        "model_type": "llama",
        "hidden_size": 960,
        "intermediate_size": 2560,
        "num_hidden_layers": 32,
        "num_attention_heads": 15,
        "num_key_value_heads": 5,
        "vocab_size": 49280,
    },
    "vision_config": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "image_size": 512},
    "scale_factor": 4,
}
SMOLVLM2_500M["vision_config"] |= {"num_hidden_layers": 12, "patch_size": 16}
INTERNVL3_1B = {
    "model_type": "internvl",
    "text_config": {
        "model_type": "qwen2",
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "vocab_size": 151674,
    },
    "vision_config": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": [448, 448],
        "patch_size": [14, 14],
    },
}


def hiera(width: int, heads: int, blocks: list[int], background: int, attending: list[int]) -> dict:
    """SAM-2 with an image encoder of this size."""
    widths = [width * 2**stage for stage in range(4)]
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": width,
        "num_attention_heads": heads,
        "blocks_per_stage": blocks,
        "embed_dim_per_stage": widths,
        "num_attention_heads_per_stage": [heads * 2**stage for stage in range(4)],
        "window_positional_embedding_background_size": [background, background],
        "global_attention_blocks": attending,
    }
    vision = {"model_type": "sam2_vision_model", "backbone_config": backbone, "backbone_channel_list": widths[::-1]}
    return {"model_type": "sam2_video", "vision_config": vision}


LARGE = hiera(144, 2, [2, 6, 36, 4], 7, [23, 33, 43])
SMALL = hiera(96, 1, [1, 2, 11, 2], 7, [7, 10, 13])


@dataclass(frozen=True)
class Setting:
    """A run: its parts, and what a device sees at once. `frame_tokens` are positions of one frame."""

    name: str
    vlm: dict
    mask: dict
    frame_tokens: int
    videos: int
    expressions: int = 3
    words_per_turn: int = 40
    height: int = 720
    width: int = 1280

    @property
    def length(self) -> int:
        """Positions of a conversation: four context and four query frames, and the words about them."""
        return 8 * self.frame_tokens + 4 * self.words_per_turn + 40


SETTINGS = (
    Setting("glus_qwen3vl_2b.yaml", QWEN3_VL_2B, LARGE, frame_tokens=122, videos=1),
    Setting("glus_internvl_1b.yaml", INTERNVL3_1B, LARGE, frame_tokens=258, videos=2),
    Setting("glus_smolvlm2_500m.yaml", SMOLVLM2_500M, SMALL, frame_tokens=67, videos=2),
)


def calculate(setting: Setting) -> dict[str, float]:
    """Bytes by part, on one device."""
    with torch.device("meta"):
        config = GLUSVLMConfig(vlm_config=setting.vlm, mask_config=setting.mask, seg_token_id=SEG)
        model = prepare_model(GLUSVLMForVideoSegmentation(config), embeddings="new_tokens", new_token_ids=(SEG,))
    trainable = sum(sum(counts.values()) for counts in trainable_parameters(model).values())
    parts: dict[str, float] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            group = f"frozen: {group_of(name)}"
            parts[group] = parts.get(group, 0) + parameter.numel() * HALF.itemsize
    parts["trained weights, their gradients and AdamW (float32), copies for autocast"] = trainable * (4 + 4 + 8 + 2)
    base = model.get_base_model()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base.gradient_checkpointing_enable({"use_reentrant": False})
    base.to(HALF).train()
    clips = setting.videos * setting.expressions
    kept, language = language_activations(base, setting, clips)
    encoder, decoding = encoder_activations(base, setting), decoding_activations(base, setting, clips)
    parts["activations, at their peak"] = max(language, kept + max(encoder, decoding))
    return parts


def language_activations(model, setting: Setting, conversations: int) -> tuple[float, float]:
    """Bytes after the forward pass of the layers, and at most."""
    decoder = model.vlm.model.get_decoder()
    text = model.config.get_text_config()
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    with torch.device("meta"), flash_attention():
        states = torch.empty(conversations, setting.length, text.hidden_size, dtype=HALF, requires_grad=True)
        wave = torch.empty(1, setting.length, head, dtype=HALF)
        with LiveTensors(model) as meter:
            last = states
            for layer in decoder.layers:
                last = layer(last, position_embeddings=(wave, wave), attention_mask=None)
            last = decoder.norm(last)
            kept = meter.now
            last.sum().backward()
    return kept, meter.peak


def encoder_activations(model, setting: Setting) -> float:
    """Of the image encoder of SAM-2, which has no gradients."""
    with torch.device("meta"), flash_attention(), torch.no_grad(), LiveTensors(model) as meter:
        model.mask_model.get_image_features(torch.empty(setting.videos * 4, 3, 1024, 1024, dtype=HALF))
    return meter.peak


def decoding_activations(model, setting: Setting, clips: int) -> float:
    """Features of all frames, decoding, losses and their backward pass."""
    with torch.device("meta"), flash_attention(), LiveTensors(model) as meter:
        with torch.no_grad():
            features = model._mask_features(torch.empty(setting.videos * 4, 3, 1024, 1024, dtype=HALF))
        bank, masks = MemoryBank(model.config.num_maskmem, 1), []
        before, meter.peak = meter.now, meter.now
        for frame in range(4):
            prompts = torch.empty(clips, 256, dtype=HALF, requires_grad=True)
            view = features.select(torch.zeros(clips, dtype=torch.long))
            masks.append(model.decode_frame(view, prompts, bank, frame, [True] * clips))
        logits = torch.stack(masks, 1).split([setting.expressions] * setting.videos)
        labels = [torch.empty(setting.expressions, 4, setting.height, setting.width) for _ in logits]
        sum(mask_losses(list(logits), labels)).backward()
    return max(meter.peak, before)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    transformers_logging.set_verbosity_error()
    print("CALCULATED on the meta device, not measured; GB (1e9 bytes) on one device, videos of 1280 x 720\n")
    for setting in SETTINGS:
        with contextlib.redirect_stderr(None):
            parts = calculate(setting)
        print(f"{setting.name}: {setting.videos} x {setting.expressions} conversations of {setting.length} positions")
        for name, size in parts.items():
            print(f"  {name:<78}{size / GB:8.2f}")
        print(f"  {'total':<78}{sum(parts.values()) / GB:8.2f}\n")


if __name__ == "__main__":
    main()
