"""A training step in the order of work of the original code, on the modules of our model, for `training.py`.

CLIP sees the frames of a video once per expression, and all of its layers are run. The language model reads every
conversation whole, right-padded to the longest of the batch; its head and the projection of [SEG] see all positions.
Then, frame by frame, SAM-2's image encoder runs once per video, with the padding of its windows; memory attention,
mask decoder and memory encoder follow, that of the last frame too.
"""

from __future__ import annotations

import torch
from reference_schedule import ReferenceSchedule
from torch import Tensor
from torch.nn import functional as F

from glus_hf.models.mask_branch import GLUSMaskFeatures
from glus_hf.models.memory_bank import MemoryBank
from glus_hf.models.recipe_losses import mask_losses, select_seg_states


class ReferenceTraining:
    """One model; its parts are methods, so that a clock can stand at each.

    Example:

        >>> ReferenceTraining(model).loss(batch).backward()  # doctest: +SKIP
    """

    def __init__(self, model):
        self.model, self.config, self.schedule = model, model.config, ReferenceSchedule(model)

    def loss(self, batch: dict) -> Tensor:
        """As the model's own, of a batch of `GLUSProcessor`."""
        counts, ids = batch["expressions_per_video"].tolist(), batch["input_ids"]
        tokens = self.clip(batch["pixel_values"].repeat_interleave(batch["expressions_per_video"], 0))
        states = self.language_model(ids, tokens, batch["attention_mask"])
        cross_entropy, prompts = self.heads(states, ids, batch["labels"])
        masks = self.masks(batch["mask_pixel_values"], prompts, counts)
        bce, dice = self.mask_losses(masks.split(counts), batch["mask_labels"])
        config = self.config
        weighted = config.mask_bce_loss_weight * bce + config.mask_dice_loss_weight * dice
        return config.ce_loss_weight * cross_entropy + weighted

    @torch.no_grad()
    def tower(self, pixels: Tensor) -> Tensor:
        tower, layer = self.model.model.vision_tower, self.config.vision_feature_layer
        return tower(pixels, output_hidden_states=True).hidden_states[layer][:, 1:]

    def clip(self, pixels: Tensor) -> Tensor:
        """Image tokens of the frames of all conversations, `[n, frames, tokens, hidden]`."""
        parts, patches = self.model.model, self.tower(pixels.flatten(0, 1))
        tokens = parts.mm_projector(parts.token_pooling(patches.transpose(1, 2)).transpose(1, 2))
        return tokens.unflatten(0, pixels.shape[:2])

    def language_model(self, ids: Tensor, tokens: Tensor, attention_mask: Tensor) -> Tensor:
        """Last states `[n, length, hidden]`."""
        embeddings = self.model.model.embed_prompt(ids, tokens)
        read = self.model.model.language_model(
            inputs_embeds=embeddings, attention_mask=attention_mask, use_cache=False
        )
        return read.last_hidden_state

    def heads(self, states: Tensor, ids: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Cross entropy, and the prompts `[n, frames, dim]`."""
        logits = self.model.lm_head(states)[:, :-1].float()
        cross_entropy = F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())
        return cross_entropy, select_seg_states(ids, self.model.model.seg_projection(states), self.config.seg_token_id)

    def masks(self, pixels: Tensor, prompts: Tensor, counts: list[int]) -> Tensor:
        """`[n, frames, h, w]`."""
        bank = MemoryBank(self.config.num_maskmem, self.config.training_memory_stride)
        return torch.stack([
            self.mask(self.mask_encoder(pixels[:, frame], counts), prompts[:, frame], bank, frame)
            for frame in range(pixels.shape[1])
        ], 1)  # fmt: skip

    @torch.no_grad()
    def mask_encoder(self, pixels: Tensor, counts: list[int]) -> GLUSMaskFeatures:
        """One image per video, one after the other; repeated per expression."""
        videos = [
            self.schedule.mask_encoder(pixels[video, None]).select(torch.zeros(count, dtype=torch.long))
            for video, count in enumerate(counts)
        ]
        join = lambda parts, axis: torch.cat(list(parts), axis)
        maps = [join(level, 0) for level in zip(*(video.high_resolution for video in videos), strict=True)]
        return GLUSMaskFeatures(
            join((video.embedding for video in videos), 1), join((video.position for video in videos), 1), maps
        )

    def mask(self, features: GLUSMaskFeatures, prompts: Tensor, bank: MemoryBank, frame: int) -> Tensor:
        parts = self.model.model
        with torch.no_grad():
            conditioned = parts.condition_on_memory(features, bank, frame)
        masks = parts.decode_masks(conditioned, features.high_resolution, prompts)
        memory, position = (part.detach() for part in parts.encode_memory(conditioned, masks))
        bank.write(frame, memory, position, [True] * len(masks))
        return masks

    def mask_losses(self, masks, labels) -> tuple[Tensor, Tensor]:
        return mask_losses(list(masks), labels)


__all__ = ["ReferenceTraining"]
