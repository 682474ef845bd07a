"""The order of work of the original code, on the modules of our model: the reference of `inference.py`.

For every expression by itself, and for every frame: CLIP on the context frames and those of the window (8 images), the
language model on the whole prompt without a cache, its head and the projection of [SEG] on all positions, batch 1;
then SAM-2's image encoder, memory attention, mask decoder and memory encoder, and the mask at the size of the video.
The views of a frame are made once per expression, as the original code does when it opens a video.
"""

from __future__ import annotations

from collections.abc import Iterator
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.models.sam2.modeling_sam2 import Sam2MultiScaleAttention

from glus_hf.models.mask_branch import GLUSMaskFeatures
from glus_hf.models.memory_bank import MemoryBank


class ReferenceSchedule:
    """One model; its parts are methods, so that a clock can stand at each.

    Example:

        >>> for frame_idx, logits in ReferenceSchedule(model).segment(session, text=0):  # doctest: +SKIP
        ...     masks = logits > 0
    """

    def __init__(self, model):
        self.model, self.config = model, model.config

    @torch.no_grad()
    def segment(self, session, text: int) -> Iterator[tuple[int, Tensor]]:
        """Logits `[height, width]` of one expression, frame by frame from the first."""
        bank = MemoryBank(self.config.num_maskmem, self.config.memory_stride)
        clip_views, mask_views = self.views(session)
        context, size = session.context_frame_indices, self.config.num_query_frames
        for frame_idx in range(session.num_frames):
            window = list(range(max(0, frame_idx + 1 - size), frame_idx + 1))
            tokens = self.clip(clip_views[[*context, *window]])
            states = self.language_model(self.prompt(session, text, len(window)), tokens)
            prompts = self.heads(states)
            features = self.mask_encoder(mask_views[frame_idx][None])
            low = self.mask_decoder(features, prompts, bank, frame_idx)
            yield frame_idx, self.resize(low, (session.height, session.width))

    def views(self, session) -> tuple[Tensor, Tensor]:
        """Both views of all frames."""
        images, frames = session.image_processor, list(session.frames)
        return images.clip_view(frames), images.mask_view(frames)

    def clip(self, pixels: Tensor) -> Tensor:
        """Image tokens, `[images, tokens, hidden]`; all layers of the tower are run."""
        parts, config = self.model.model, self.config
        states = parts.vision_tower(pixels, output_hidden_states=True).hidden_states[config.vision_feature_layer]
        return parts.mm_projector(parts.token_pooling(states[:, 1:].transpose(1, 2)).transpose(1, 2))

    def prompt(self, session, text: int, num_frames: int) -> Tensor:
        """Ids of the whole prompt, `[1, length]`."""
        turns = session.turn_input_ids[text] * (num_frames - 1) + session.last_turn_input_ids[text]
        return torch.tensor([session.prefix_input_ids + turns])

    def language_model(self, ids: Tensor, tokens: Tensor) -> Tensor:
        """Last states of all positions."""
        embeddings = self.model.model.embed_prompt(ids, tokens)
        return self.model.model.language_model(inputs_embeds=embeddings, use_cache=False).last_hidden_state

    def heads(self, states: Tensor) -> Tensor:
        """[SEG] prompt `[1, dim]`; head and projection see all positions, as in the original code."""
        if self.model.lm_head(states)[0, -1].argmax() != self.config.seg_token_id:
            raise ValueError("the model does not answer [SEG]")
        return self.model.model.seg_projection(states)[:, -1]

    def mask_encoder(self, pixels: Tensor):
        """With the padding of the windows, as SAM-2's own code has it."""
        parts = self.model.model
        with mock.patch.object(Sam2MultiScaleAttention, "forward", attend):
            outputs = parts.mask_model.get_image_features(pixels, return_dict=True)
        sizes = parts.mask_model.backbone_feature_sizes
        maps = [parts._to_map(states, size) for states, size in zip(outputs.fpn_hidden_states, sizes, strict=True)]
        position = outputs.fpn_position_encoding[-1]
        return GLUSMaskFeatures(outputs.fpn_hidden_states[-1], position, maps[:2])

    def mask_decoder(self, features, prompts: Tensor, bank: MemoryBank, frame_idx: int) -> Tensor:
        return self.model.model.decode_frame(features, prompts, bank, frame_idx, [True])

    def resize(self, low: Tensor, size: tuple[int, int]) -> Tensor:
        return F.interpolate(low[:, None].float(), size=size, mode="bilinear", align_corners=False)[0, 0]


def attend(attention: Sam2MultiScaleAttention, hidden_states: Tensor) -> Tensor:
    """Attention of windows `[n, height, width, dim]`; that of transformers also makes a product that nobody reads."""
    count, height, width, _ = hidden_states.shape
    heads = attention.num_attention_heads
    queries, keys, values = attention.qkv(hidden_states).reshape(count, height, width, 3, heads, -1).unbind(3)
    if attention.query_stride:
        pooled = F.max_pool2d(queries.flatten(3).permute(0, 3, 1, 2), attention.query_stride, attention.query_stride)
        queries = pooled.permute(0, 2, 3, 1).unflatten(-1, (heads, -1))
        height, width = queries.shape[1:3]
    queries, keys, values = (states.flatten(1, 2).transpose(1, 2) for states in (queries, keys, values))
    attended = F.scaled_dot_product_attention(queries, keys, values, scale=attention.scale)
    return attention.proj(attended.transpose(1, 2).reshape(count, height, width, -1))


__all__ = ["ReferenceSchedule"]
