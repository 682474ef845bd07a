"""The pixel decoder of GLEE: early fusion with the words, a deformable encoder and mask features, all in float32."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.deformable_detr.modeling_deformable_detr import (
    DeformableDetrEncoder,
    DeformableDetrEncoderLayer,
    DeformableDetrMLP,
)
from transformers.models.mask2former.modeling_mask2former import Mask2FormerSinePositionEmbedding

from .configuration_glee import GLEEConfig
from .deformable_sampling_glee import use_fast_sampling
from .float32_glee import Float32Module
from .fusion_glee import GLEEFusion
from .text_encoder_glee import GLEEText


MLP_PIECE = 1024  # locations
FUSION_SCALE = 1 / 6  # what the layer scale of early fusion starts from


@dataclass
class Levels:
    """Maps of several strides in one sequence: their sizes, in the order of the sequence."""

    sizes: list[tuple[int, int]]
    device: torch.device

    @cached_property
    def shapes(self) -> Tensor:
        return torch.tensor(self.sizes, device=self.device)

    @cached_property
    def starts(self) -> Tensor:
        areas = self.shapes.prod(1)
        return areas.cumsum(0) - areas

    def ones(self, batch: int) -> Tensor:
        """Valid ratios `[batch, levels, 2]`: GLEE attends to padding, so all is valid."""
        return torch.ones(batch, len(self.sizes), 2, device=self.device)

    def split(self, sequence: Tensor) -> list[Tensor]:
        """`[batch, locations, dim]` -> one `[batch, dim, height, width]` per level."""
        parts = sequence.split([height * width for height, width in self.sizes], 1)
        return [part.transpose(1, 2).unflatten(2, size) for part, size in zip(parts, self.sizes, strict=True)]

    def attention_arguments(self) -> dict:
        """What every deformable attention of transformers wants to know."""
        return {
            "spatial_shapes": self.shapes,
            "spatial_shapes_list": self.sizes,
            "level_start_index": self.starts,
        }


def flatten_levels(maps: list[Tensor]) -> tuple[Tensor, Levels]:
    """Maps `[batch, dim, height, width]` as one sequence `[batch, locations, dim]`, and where each lies."""
    sequence = torch.cat([features.flatten(2).transpose(1, 2) for features in maps], 1)
    return sequence, Levels([tuple(features.shape[-2:]) for features in maps], sequence.device)


@dataclass
class PixelMaps:
    """What the pixel decoder makes of images before it reads words; texts about the same images share it.

    Args:
        levels: strides 8, 16, 32, ..., `[images, dim, height, width]`.
        lateral: stride 4, `[images, dim, height, width]`.
    """

    levels: list[Tensor]
    lateral: Tensor

    def select(self, indices: Tensor) -> PixelMaps:
        """Images by index, also several times."""
        return PixelMaps([level[indices] for level in self.levels], self.lateral[indices])

    @classmethod
    def join(cls, parts: list[PixelMaps]) -> PixelMaps:
        """Several batches as one."""
        levels = [torch.cat(levels) for levels in zip(*(part.levels for part in parts), strict=True)]
        return cls(levels, torch.cat([part.lateral for part in parts]))


class PiecewiseMLP(DeformableDetrMLP):
    """The feed-forward layer; on a CPU without gradients, in pieces whose inner states stay in the cache."""

    def forward(self, states: Tensor) -> Tensor:
        if states.device.type != "cpu" or torch.is_grad_enabled():
            return super().forward(states)
        pieces = states.flatten(0, -2).split(MLP_PIECE)
        return torch.cat([DeformableDetrMLP.forward(self, piece) for piece in pieces]).view_as(states)


class GLEEEncoderLayer(DeformableDetrEncoderLayer):
    """Deformable DETR's layer, faster on a CPU."""

    def __init__(self, config: GLEEConfig):
        super().__init__(config)
        self.mlp = PiecewiseMLP(config, config.d_model, config.encoder_ffn_dim)
        use_fast_sampling(self)


class GLEEPixelDecoder(Float32Module):
    """Backbone maps and words -> encoded maps of strides 8, 16, 32, 64 and mask features of stride 4."""

    def __init__(self, config: GLEEConfig, channels: list[int]):
        super().__init__()
        dim, groups = config.d_model, config.group_norm_groups
        convolutions = [] if config.has_pyramid else make_input_convolutions(config, channels)
        self.num_backbone_levels = len(channels) - 1
        self.input_projections = nn.ModuleList(nn.Sequential(conv, nn.GroupNorm(groups, dim)) for conv in convolutions)
        self.fusion_text_mask = config.fusion_text_mask
        self.fusion = GLEEFusion(config)
        self.level_embedding = nn.Parameter(torch.zeros(config.num_feature_levels, dim))
        self.position_embedding = Mask2FormerSinePositionEmbedding(dim // 2, normalize=True)
        self.layers = nn.ModuleList(GLEEEncoderLayer(config) for _ in range(config.encoder_layers))
        lateral = nn.Conv2d(channels[0], dim, 1, bias=False), nn.GroupNorm(groups, dim)
        output = nn.Conv2d(dim, dim, 3, padding=1, bias=False), nn.GroupNorm(groups, dim), nn.ReLU()
        self.lateral, self.output = nn.Sequential(*lateral), nn.Sequential(*output)
        self.mask_projection = nn.Conv2d(dim, dim, 1)

    def forward(
        self, features: list[Tensor] | PixelMaps, text: GLEEText | None = None, crop: Tensor | None = None
    ) -> tuple[list[Tensor], Tensor] | PixelMaps:
        """Encode images.

        Args:
            features: four maps `[images, channels, height, width]` of strides 4, 8, 16, 32, or of a pyramid; or what
                this gives without a text.
            text: names, or one expression per image.
            crop: tokens of visual prompts that locations read beside the words, `[images, n, dim]`.

        Returns:
            The encoded levels, finest first, `[images, dim, height, width]` each, and mask features `[images, dim,
            height / 4, width / 4]`, with a pyramid of a stride of 8. Without a text, [`PixelMaps`].
        """
        if not isinstance(features, PixelMaps):
            features = [values.float() for values in features]
            features = PixelMaps(self.project(features), self.lateral(features[0]))
        if text is None:
            return features
        states, levels = flatten_levels(features.levels)
        states = self.encode(self.fuse(states, text, crop), levels)
        encoded = levels.split(states)
        return encoded, self.make_mask_features(features.lateral, encoded[0])

    def project(self, features: list[Tensor]) -> list[Tensor]:
        """Maps of strides 8 and more in the width of the model; those above 32 come from the ones before them. A
        pyramid's are so already."""
        if len(self.input_projections) == 0:
            return features
        maps = [project(values) for project, values in zip(self.input_projections, features[1:], strict=False)]
        coarsest = features[-1]
        for project in self.input_projections[self.num_backbone_levels :]:
            coarsest = project(coarsest)
            maps.append(coarsest)
        return maps

    def fuse(self, states: Tensor, text: GLEEText, crop: Tensor | None = None) -> Tensor:
        """Locations that have read the words, and the crop tokens of visual prompts."""
        words, padding = text.words.float(), text.padding
        if crop is not None:
            words = torch.cat([words.expand(len(crop), -1, -1), crop], 1)
            padding = F.pad(padding.expand(len(crop), -1), (0, crop.shape[1]))
        mask = padding if self.fusion_text_mask and text.is_referring else None
        return self.fusion(states, words, mask)

    def encode(self, states: Tensor, levels: Levels) -> Tensor:
        positions = torch.cat([self._positions(index, levels) for index in range(len(levels.sizes))], 1)
        references = DeformableDetrEncoder.get_reference_points(levels.sizes, levels.ones(len(states)), states.device)
        for layer in self.layers:
            states = layer(
                states,
                None,
                spatial_position_embeddings=positions,
                reference_points=references,
                **levels.attention_arguments(),
            )
        return states

    def _positions(self, index: int, levels: Levels) -> Tensor:
        shape = torch.Size((1, 1, *levels.sizes[index]))
        sine = self.position_embedding(shape, levels.device, torch.float32)
        return sine.flatten(2).transpose(1, 2) + self.level_embedding[index]

    def make_mask_features(self, lateral: Tensor, encoded: Tensor) -> Tensor:
        upsampled = F.interpolate(encoded, lateral.shape[-2:], mode="bilinear", align_corners=False)
        return self.mask_projection(self.output(lateral + upsampled))


def make_input_convolutions(config: GLEEConfig, channels: list[int]) -> list[nn.Conv2d]:
    """One for every map of strides 8, 16 and 32, and one that makes each coarser level of the level before."""
    dim = config.d_model
    convolutions = [nn.Conv2d(count, dim, 1) for count in channels[1:]]
    extra = config.num_feature_levels - len(convolutions)
    inputs = [channels[-1], *[dim] * extra][:extra]
    return convolutions + [nn.Conv2d(count, dim, 3, stride=2, padding=1) for count in inputs]


__all__ = ["GLEEPixelDecoder", "Levels", "PixelMaps", "flatten_levels"]
