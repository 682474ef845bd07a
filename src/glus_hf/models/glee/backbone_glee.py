"""The backbone of GLEE: a ResNet or Swin of transformers, the ResNet with batch norms that stay as they were trained;
or an EVA-02."""

from __future__ import annotations

from fractions import Fraction

from torch import nn
from transformers import AutoBackbone, PreTrainedConfig
from transformers.models.deformable_detr.modeling_deformable_detr import replace_batch_norm
from transformers.models.resnet.modeling_resnet import ResNetBottleNeckLayer

from .configuration_glee import GLEEConfig
from .eva02_glee import GLEEEva02Backbone


NUM_MAPS = 4


def build_backbone(config: GLEEConfig) -> nn.Module:
    """The backbone of a config, with random weights; its `feature_maps` have strides 4, 8, 16 and 32, those of
    an EVA-02 8, 16, 32 and 64.

    Raises:
        ValueError: the backbone does not give four feature maps.

    Example:

        >>> import torch
        >>> from glus_hf import GLEEConfig
        >>> backbone = build_backbone(GLEEConfig.tiny())
        >>> [tuple(features.shape[1:]) for features in backbone(torch.zeros(1, 3, 64, 96)).feature_maps]
        [(8, 16, 24), (16, 8, 12), (24, 4, 6), (32, 2, 3)]
    """
    if config.has_pyramid:
        return GLEEEva02Backbone(config.backbone_config)
    is_resnet = config.backbone_config.model_type == "resnet"  # has no attention, and refuses a choice of it
    backbone = AutoBackbone.from_config(
        config.backbone_config, **({"attn_implementation": "eager"} if is_resnet else {})
    )
    if len(backbone.channels) != NUM_MAPS:
        raise ValueError(
            f"The backbone must give {NUM_MAPS} feature maps, not {len(backbone.channels)}; set out_features."
        )
    if config.bottleneck_sizes is not None:
        _set_bottleneck_sizes(backbone, config.backbone_config, config.bottleneck_sizes)
    if hasattr(backbone, "swin"):
        backbone.swin.layernorm = nn.Identity()  # its result is not used: every map has a norm of its own
    replace_batch_norm(backbone)
    return backbone


def _set_bottleneck_sizes(backbone: nn.Module, config: PreTrainedConfig, sizes: list[int]) -> None:
    """Rebuild the stages of a ResNet with inner channels that are not a fixed part of the outer ones."""
    channels = [config.embedding_size, *config.hidden_sizes]
    for index, stage in enumerate(backbone.encoder.stages):
        first_stride = 2 if index > 0 or config.downsample_in_first_stage else 1
        stage.layers = nn.Sequential(
            *(
                ResNetBottleNeckLayer(
                    channels[index + (layer > 0)],
                    channels[index + 1],
                    stride=1 if layer > 0 else first_stride,
                    activation=config.hidden_act,
                    reduction=Fraction(channels[index + 1], sizes[index]),  # exact: channels // reduction is the size
                    downsample_in_bottleneck=config.downsample_in_bottleneck,
                )
                for layer in range(config.depths[index])
            )
        )


__all__ = ["build_backbone"]
