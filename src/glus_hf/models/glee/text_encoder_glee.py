"""The text encoder of GLEE: CLIP's text tower, a projection, and a frozen teacher for distillation."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTextModel

from .configuration_glee import GLEEConfig


@dataclass
class GLEEText:
    """Encoded names or expressions.

    Args:
        embeddings (`FloatTensor`): `[names, dim]` of names that all images share; `[images, dim]` of one expression
            per image.
        words (`FloatTensor [images or 1, length, dim]`): what early fusion reads: all words of all names one after the
            other, or the words of each expression.
        padding (`BoolTensor [images or 1, length]`): True where `words` is no word.
        is_referring (`bool`): one expression per image.
    """

    embeddings: Tensor
    words: Tensor
    padding: Tensor
    is_referring: bool

    def select(self, indices: Tensor) -> GLEEText:
        """Expressions by index, one per image: `[images]`."""
        return replace(
            self, embeddings=self.embeddings[indices], words=self.words[indices], padding=self.padding[indices]
        )

    def classify(self, embeddings: Tensor) -> Tensor:
        """Logits `[images, n, names]`, or `[images, n, 1]` of expressions, of embeddings `[images, n, dim]`."""
        if self.is_referring:
            return (embeddings @ self.embeddings[:, :, None].to(embeddings)).contiguous()
        return embeddings @ self.embeddings.to(embeddings).T


class GLEETextEncoder(nn.Module):
    """Names or expressions -> vectors and words of the model's width."""

    def __init__(self, config: GLEEConfig):
        super().__init__()
        self.distill_loss = config.distill_loss
        self.student = CLIPTextModel(config.text_config)
        self.teacher = CLIPTextModel(config.text_config).requires_grad_(False) if config.text_teacher else None
        self.projection = nn.Linear(config.text_config.hidden_size, config.d_model, bias=False)

    def read(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Last states of the tower, `[texts, length, hidden]`."""
        return self.student(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    @torch.no_grad()
    def read_as_teacher(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The same of the frozen tower."""
        return self.teacher(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    def project(self, states: Tensor, attention_mask: Tensor, is_referring: bool) -> GLEEText:
        """Vectors, the mean over the words of a text with its first and last token, and words for early fusion."""
        words, is_word = self.projection(states), attention_mask.bool()
        counts = attention_mask.sum(1, keepdim=True).to(words)
        embeddings = (words * is_word[..., None]).sum(1) / counts
        if is_referring:
            return GLEEText(embeddings, words, ~is_word, True)
        words = words[is_word][None]
        return GLEEText(embeddings, words, torch.zeros(words.shape[:2], dtype=torch.bool, device=words.device), False)

    def distill(self, states: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """How far the states of the words are from the teacher's: mean over words and channels."""
        is_word = attention_mask.bool()
        pair = states[is_word].float(), self.read_as_teacher(input_ids, attention_mask)[is_word].float()
        return F.l1_loss(*pair) if self.distill_loss == "l1" else F.mse_loss(*pair)


__all__ = ["GLEEText", "GLEETextEncoder"]
