"""The mask side of the GLUS recipe: a SAM-2 of transformers, or a relative, prompted by [SEG] states."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .compiled_stages import CompiledStages
from .hiera_windows import hiera_maps, is_hiera
from .host_copies import to_device
from .memory_bank import MemoryBank


GIVEN_LOGIT = 10.0  # of SAM-2, for masks that are given


@dataclass
class GLUSMaskFeatures:
    """What the mask branch keeps of `n` frames: `embedding` and `position` `[tokens, n, dim]`, `high_resolution` two
    maps `[n, c, 4h, 4w]` and `[n, c, 2h, 2w]`."""

    embedding: Tensor
    position: Tensor
    high_resolution: list[Tensor]

    def select(self, index: Tensor) -> GLUSMaskFeatures:
        """Frames (or repeats of frames) by index along `n`."""
        maps = [feature.index_select(0, index) for feature in self.high_resolution]
        return GLUSMaskFeatures(self.embedding.index_select(1, index), self.position.index_select(1, index), maps)


class MaskBranch(Protocol):
    """What the loop over frames asks of the mask side; its backbone is its own affair."""

    def encode_mask_frames(self, pixel_values: Tensor) -> GLUSMaskFeatures:
        """Frames `[n, 3, S, S]`, once each, for all expressions."""

    def decode_frame(
        self,
        features: GLUSMaskFeatures,
        seg_embeddings: Tensor,
        bank: MemoryBank,
        frame: int,
        active: list[bool],
        given: Mapping[int, Tensor] | None = None,
    ) -> Tensor:
        """Masks of one frame, `[n, h, w]`; its memory goes into the bank."""


class SamMaskBranch(CompiledStages):
    """[`MaskBranch`] of a model that has `mask_model` and, in its config, the recipe's options of the memory.

    `mask_model` is a `Sam2VideoModel`, `Sam3TrackerVideoModel` or `EdgeTamVideoModel` of transformers. They differ in
    the size of the masks that the memory encoder takes, and EdgeTAM's memories are compressed by a perceiver.
    """

    mask_model: nn.Module

    def decode_clips(
        self, mask_pixel_values: Tensor, seg_embeddings: Tensor, counts: Sequence[int]
    ) -> tuple[Tensor, ...]:
        """Masks of all query frames, frame by frame with memory; one entry per video `[expressions, frames, h, w]`."""
        num_frames = mask_pixel_values.shape[1]
        features = self.encode_mask_frames(mask_pixel_values.flatten(0, 1))
        device = features.embedding.device
        owner = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)).to(device)
        bank = MemoryBank(self.config.num_maskmem, self.config.training_memory_stride)
        active = [True] * len(owner)
        masks = [
            self.decode_frame(
                features.select(owner * num_frames + frame),
                seg_embeddings[:, frame].to(device),
                bank,
                frame,
                active,
                is_last=frame == num_frames - 1,
            )
            for frame in range(num_frames)
        ]
        return torch.stack(masks, dim=1).split(list(counts))

    def encode_mask_frames(self, pixel_values: Tensor) -> GLUSMaskFeatures:
        """Frames for the mask branch: `[n, 3, S, S]` -> [`GLUSMaskFeatures`]."""
        device = self.mask_model.device
        if device.type == "meta":
            raise ValueError(
                'The mask branch cannot be offloaded; put "model.mask_model" on one device in device_map.'
            )
        return self._mask_features(pixel_values.to(device, self.dtype))

    def _mask_features(self, pixel_values: Tensor) -> GLUSMaskFeatures:
        with torch.set_grad_enabled(
            torch.is_grad_enabled() and (pixel_values.requires_grad or self._encoder_trains())
        ):
            maps = self.own_stage("_image_maps")(pixel_values)
        position = self._sine_positions(self.mask_model.vision_encoder.neck.position_encoding, maps[-1])
        return GLUSMaskFeatures(maps[-1].flatten(2).permute(2, 0, 1), position, maps[:2])

    def _encoder_trains(self) -> bool:
        decoder = self.mask_model.mask_decoder
        parts = (self.mask_model.vision_encoder, decoder.conv_s0, decoder.conv_s1)
        return any(parameter.requires_grad for part in parts for parameter in part.parameters())

    def _image_maps(self, pixel_values: Tensor) -> list[Tensor]:
        """Maps `[n, c, h, w]` of the images, from the finest to the coarsest."""
        if is_hiera(self.mask_model) and not torch.is_grad_enabled():
            return hiera_maps(self.mask_model, pixel_values)
        outputs = self.mask_model.get_image_features(pixel_values, return_dict=True)
        sizes = self.mask_model.backbone_feature_sizes
        return [self._to_map(feature, size) for feature, size in zip(outputs.fpn_hidden_states, sizes, strict=True)]

    @staticmethod
    def _to_map(tokens: Tensor, size) -> Tensor:
        return tokens.permute(1, 2, 0).reshape(tokens.shape[1], tokens.shape[2], *size)

    @staticmethod
    def _sine_positions(encoding: nn.Module, features: Tensor) -> Tensor:
        """Positions `[tokens, n, dim]` of a map `[n, dim, h, w]`, in float32 and rounded once, as SAM-2 makes them."""
        wide = torch.promote_types(features.dtype, torch.float32)
        position = encoding(features.shape, features.device, wide).to(features.dtype)
        return position.expand(len(features), -1, -1, -1).flatten(2).permute(2, 0, 1)

    # decode -----------------------------------------------------------------------------------------------------

    def decode_frame(
        self,
        features: GLUSMaskFeatures,
        seg_embeddings: Tensor,
        bank: MemoryBank,
        frame: int,
        active: list[bool],
        given: Mapping[int, Tensor] | None = None,
        is_last: bool = False,
    ) -> Tensor:
        """Decode the masks of one frame and write its memory.

        Args:
            features: this frame, repeated per expression along `n`.
            seg_embeddings: `[n, dim]`, one sparse prompt token each.
            bank: memories of this pass; gets entry `frame`.
            frame: position in the pass.
            active: expressions whose [SEG] was emitted; the others write no memory.
            given: masks `[height, width]` of bool that take the place of the decoded ones, by expression.
            is_last: no later frame follows, so no memory is written.

        Returns:
            `[n, h, w]` low-resolution mask logits (a quarter of the mask branch's image size).
        """
        conditioned = self.condition_on_memory(features, bank, frame)
        maps = [self.any_size(each, 0) for each in features.high_resolution]
        decode = self.own_stage("decode_masks")
        masks = decode(self.any_size(conditioned, 0), maps, self.any_size(seg_embeddings, 0))
        for index, mask in (given or {}).items():
            masks[index] = given_logits(mask, masks.shape[-2:]).to(masks)
        if bank.num_maskmem > 0 and not is_last:
            raw = self._to_map(features.embedding, self.mask_model.backbone_feature_sizes[-1])
            source = conditioned if self.config.memory_features == "conditioned" else raw
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.detach_memory):
                encode = self.own_stage("encode_memory")
                memory, position = encode(self.any_size(source, 0), self.any_size(masks, 0))
            bank.write(frame, memory, position, active)
        return masks

    def condition_on_memory(self, features: GLUSMaskFeatures, bank: MemoryBank, frame: int) -> Tensor:
        """Features after memory attention, `[n, dim, h, w]`; without memories, those plus `no_memory_embedding`."""
        entries = bank.read(frame)
        count = features.embedding.shape[1]
        patterns = [tuple(entry[2][index] for entry in entries) for index in range(count)]
        conditioned: list[Tensor | None] = [None] * count
        for pattern in dict.fromkeys(patterns):  # one group, unless a [SEG] failed
            rows = [index for index in range(count) if patterns[index] == pattern]
            kept = [entry for entry, is_written in zip(entries, pattern, strict=True) if is_written]
            states = self._attend_to_memory(features, rows, kept)
            for position, row in enumerate(rows):
                conditioned[row] = states[:, position]
        return self._to_map(torch.stack(conditioned, dim=1), self.mask_model.backbone_feature_sizes[-1])

    def _attend_to_memory(self, features: GLUSMaskFeatures, rows: list[int], entries: list) -> Tensor:
        of_rows = _columns(rows, features.embedding)
        embedding = of_rows(features.embedding)
        if not entries:
            return embedding + self.mask_model.no_memory_embedding.to(embedding.dtype)
        memory, memory_position = (torch.cat([of_rows(entry[part]) for entry in entries]) for part in (0, 1))
        inputs = [self.any_size(states, 1) for states in (embedding, of_rows(features.position))]
        inputs += [self.any_size(states, 0, 1) for states in (memory, memory_position)]
        is_usual = len(entries) > 1 or self.config.num_maskmem == 1  # a single memory is read on one frame of a pass
        attend = self.own_stage("_attend") if is_usual else self._attend
        return attend(*inputs, len(entries))

    def _attend(
        self, embedding: Tensor, position: Tensor, memory: Tensor, memory_position: Tensor, num_memories: int
    ) -> Tensor:
        """Memory attention: states `[tokens, n, dim]` from those and `[memory tokens, n, dim]`."""
        attended = self.mask_model.memory_attention(
            current_vision_features=embedding,
            current_vision_position_embeddings=position,
            memory=memory,
            memory_posision_embeddings=memory_position,
            num_object_pointer_tokens=0,
            **({"num_spatial_memory_tokens": num_memories} if self._compresses_memory else {}),
        )
        return attended.squeeze(0).transpose(0, 1)

    def decode_masks(self, image_embeddings: Tensor, high_resolution: list[Tensor], seg_embeddings: Tensor) -> Tensor:
        """SAM's mask decoder with one sparse token per mask and the `no_mask` dense prompt -> `[n, h, w]`."""
        count = image_embeddings.shape[0]
        no_mask = self.mask_model.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
        masks = self.mask_model.mask_decoder(
            image_embeddings=image_embeddings,
            image_positional_embeddings=self.dense_positions().expand(count, -1, -1, -1),
            sparse_prompt_embeddings=seg_embeddings[:, None, None].to(image_embeddings),
            dense_prompt_embeddings=no_mask.expand_as(image_embeddings),
            multimask_output=False,
            high_resolution_features=high_resolution,
        )[0]
        return masks[:, 0, 0]

    def dense_positions(self) -> Tensor:
        """SAM's image-wide positional encoding `[1, dim, h, w]`, in the precision of `dense_position_dtype`."""
        if self.config.dense_position_dtype == "model":
            return self.mask_model.get_image_wide_positional_embeddings()
        height, width = self.mask_model.prompt_encoder.image_embedding_size
        matrix = self.mask_model.shared_image_embedding.positional_embedding
        rows = (torch.arange(height, device=matrix.device) + 0.5) / height
        columns = (torch.arange(width, device=matrix.device) + 0.5) / width
        grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
        phases = 2 * torch.pi * ((2 * grid - 1) @ matrix.float())
        return torch.cat([phases.sin(), phases.cos()], dim=-1).permute(2, 0, 1)[None].to(matrix.dtype)

    def encode_memory(self, features: Tensor, mask_logits: Tensor) -> tuple[Tensor, Tensor]:
        """Memory of a frame, features and positions `[tokens, n, dim]`, from features `[n, dim, h, w]` and masks."""
        config, encoder = self.config.mask_config, self.mask_model.memory_encoder
        size = [side * config.mask_downsampler_total_stride for side in self.mask_model.backbone_feature_sizes[-1]]
        masks = F.interpolate(mask_logits[:, None].float(), size=size, mode="bilinear", align_corners=False)
        masks = masks.to(features.dtype).sigmoid() * config.sigmoid_scale_for_mem_enc + config.sigmoid_bias_for_mem_enc
        fused = encoder.feature_projection(features) + encoder.mask_downsampler(masks)
        if self.config.fuser_scale == "checkpoint":
            fused = encoder.memory_fuser(fused)
        memory = encoder.projection(fused)
        if self._compresses_memory:
            return self._compress(memory)
        return memory.flatten(2).permute(2, 0, 1), self._sine_positions(encoder.position_encoding, memory)

    @property
    def _compresses_memory(self) -> bool:
        return hasattr(self.mask_model, "spatial_perceiver")

    def _compress(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """EdgeTAM's memory of n maps, one by one: transformers views latents that are expanded over a batch."""
        encoding = self.mask_model.memory_encoder.position_encoding
        pairs = [
            self.mask_model.spatial_perceiver(each, encoding(each.shape, each.device, each.dtype))
            for each in memory.split(1)
        ]
        latents, positions = (torch.cat(parts).transpose(0, 1) for parts in zip(*pairs, strict=True))
        return latents, positions.to(latents)


def _columns(rows: list[int], of: Tensor) -> Callable[[Tensor], Tensor]:
    """From `[tokens, n, dim]` to some of the n; nothing is copied, and nobody waits, where they are all."""
    if len(rows) == of.shape[1]:
        return lambda states: states
    index = to_device(torch.tensor(rows), of.device)
    return lambda states: states.index_select(1, index)


def given_logits(mask: Tensor, size: Sequence[int]) -> Tensor:
    """A mask `[height, width]` of bool as logits of the mask decoder's `size`: sure inside and outside, in between on
    the contour.

    Example:

        >>> given_logits(torch.tensor([[True, True, False, False]]), (1, 2)).sign()
        tensor([[ 1., -1.]])
    """
    share = F.interpolate(mask[None, None].float(), tuple(size), mode="bilinear", align_corners=False, antialias=True)
    return (2 * share[0, 0] - 1) * GIVEN_LOGIT


__all__ = ["GIVEN_LOGIT", "GLUSMaskFeatures", "MaskBranch", "SamMaskBranch"]
