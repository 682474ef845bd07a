"""Architecture, tokenizer and initialisation of glus-selector-tiny, and the training-only heads."""

from __future__ import annotations

import torch
from tiny_batches import ATTRIBUTES, BACKGROUND, SIZE
from tokenizers import AddedToken
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from glus_hf import GLUSSelector, GLUSSelectorConfig, GLUSSelectorProcessor
from glus_hf.data.motion_shapes.language import vocabulary
from glus_hf.models.glus_selector.processing_glus_selector import (
    ANSWERS,
    QUESTIONS,
    QUESTIONS_ABOUT_QUESTIONS,
    SCORE_TOKEN,
    SYSTEM_PROMPT,
)
from glus_hf.training.word_tokenizer import build_word_tokenizer


CLUSTERS = {16: (64, 32, 16), 8: (16, 8, 4)}
"""Tokens that the stages of the merger leave of an image of `grid x grid` patches: 112 of 256, 28 of 64."""

MAX_CONTEXT_FRAMES = 12
WIDTH = 128


def selector_processor(grid: int = 8) -> GLUSSelectorProcessor:
    """Words of MotionShapes and of the selector's prompts, each one token; frames of 64 x 64 pixels."""
    words = [
        SYSTEM_PROMPT,
        *QUESTIONS,
        *QUESTIONS_ABOUT_QUESTIONS,
        "USER: ASSISTANT: Reference Video: Target Image: , .",
    ]
    words += [answer.replace(SCORE_TOKEN, " ") for answer in ANSWERS]
    words += [f"({number})" for number in range(MAX_CONTEXT_FRAMES)]
    tokenizer = build_word_tokenizer([*words, *vocabulary()])
    tokenizer.add_tokens([AddedToken(SCORE_TOKEN, lstrip=True, rstrip=True, normalized=False)])
    views = CLIPImageProcessorPil(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})
    return GLUSSelectorProcessor(views, tokenizer, num_image_tokens=sum(CLUSTERS[grid]))


def selector_config(processor: GLUSSelectorProcessor, grid: int = 8) -> GLUSSelectorConfig:
    return GLUSSelectorConfig(
        vision_config={
            "hidden_size": WIDTH,
            "intermediate_size": 384,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "image_size": SIZE,
            "patch_size": SIZE // grid,
        },
        text_config={
            "vocab_size": len(processor.tokenizer),
            "hidden_size": WIDTH,
            "intermediate_size": 384,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "max_position_embeddings": 2048,
            "pad_token_id": 0,
        },
        vision_feature_layer=-1,
        spatial_clusters=CLUSTERS[grid],
        score_token_id=processor.score_token_id,
        score_head_size=64,
    )


def build_selector(seed: int = 0, grid: int = 8) -> tuple[GLUSSelector, GLUSSelectorProcessor]:
    """A freshly initialised model and its processor."""
    torch.manual_seed(seed)
    processor = selector_processor(grid)
    model = GLUSSelector(selector_config(processor, grid))
    initialize(model)
    return model, processor


@torch.no_grad()
def initialize(model: GLUSSelector) -> None:
    """As glus-tiny: transformers' 0.02 is far too small for 128 channels."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.06)
    tower = model.model.vision_tower
    patches = tower.get_input_embeddings()
    nn.init.normal_(patches.weight, std=patches.weight[0].numel() ** -0.5)
    for name, parameter in tower.named_parameters():
        if "position_embedding" in name or "class_embedding" in name:
            nn.init.normal_(parameter, std=0.5)
    nn.init.normal_(model.get_input_embeddings().weight, std=0.6)


class SelectorHeads(nn.Module):
    """Attributes of patches and of tokens, and which tokens of the target frame an expression means. They are dropped
    after training."""

    def __init__(self, width: int = WIDTH):
        super().__init__()
        sizes = {name: len(values) + 1 for name, values in ATTRIBUTES.items()}
        self.patches = nn.ModuleDict(
            {name: nn.Linear(width, size) for name, size in sizes.items() if name != "motion"}
        )
        self.tokens = nn.ModuleDict({name: nn.Linear(width, size) for name, size in sizes.items()})
        self.query, self.key = nn.Linear(width, 64), nn.Linear(width, 64)

    def patch_loss(self, patches: Tensor, labels: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """`patches [..., width]`, `labels` per attribute `[...]`; the background weighs a tenth."""
        losses, accuracy = [], {}
        for name, head in self.patches.items():
            target, logits = labels[name].flatten(), head(patches).flatten(0, -2)
            weight = torch.ones(logits.shape[-1], device=logits.device)
            weight[-1] = 0.1
            losses.append(
                F.cross_entropy(logits, target.masked_fill(target == BACKGROUND, logits.shape[-1] - 1), weight)
            )
            on_sprite = target >= 0
            accuracy[f"patch_{name}"] = (logits.argmax(-1) == target)[on_sprite].float().mean().item()
        return sum(losses), accuracy

    def token_loss(self, states: Tensor, mixes: dict[str, Tensor], known: Tensor) -> tuple[Tensor, dict[str, float]]:
        """`states [n, width]`, `mixes` per attribute `[n, classes]`: what part of a token each class is; `known [n]`:
        where motion can be told."""
        losses, accuracy = [], {}
        for name, head in self.tokens.items():
            mix, logits = mixes[name], head(states)
            weight = 1 - 0.9 * mix[:, -1]
            if name == "motion":
                weight = weight * known
            losses.append(-((mix * logits.log_softmax(-1)).sum(-1) * weight).sum() / weight.sum().clamp(min=1))
            sure = (mix[:, :-1].sum(-1) > 0.6) & (known if name == "motion" else torch.ones_like(known))
            accuracy[f"token_{name}"] = (logits.argmax(-1) == mix.argmax(-1))[sure].float().mean().item()
        return sum(losses), accuracy

    def match_logits(self, states: Tensor, tokens: Tensor) -> Tensor:
        """Do these tokens show what is asked for? `states [n, width]`, `tokens [n, t, width]` -> `[n, t]`."""
        return torch.einsum("nc,ntc->nt", self.query(states), self.key(tokens)) / 8
