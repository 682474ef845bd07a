"""The backbone of GLEE-Pro: an EVA-02 whose layers attend within windows or to the whole image, and maps of several
strides made of its last one (a simple feature pyramid)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BackboneOutput
from transformers.models.swin.modeling_swin import SwinDropPath

from ...errors import UserError
from .configuration_eva02_glee import GLEEEva02Config


NUM_MAPS = 4


# ---- positions


def rotary_angles(rows: int, grid: int, config: GLEEEva02Config, device: torch.device) -> Tensor:
    """Angles of the first `rows` places of a square grid in reading order, `[rows, head_dim / 2]`: first those of the
    row, then of the column; each pair of channels turns by one.

    A sequence shorter than the grid takes the first places of the grid, whatever shape its image has: the released
    code does so, with the 256 patches of a visual prompt on the grid of 96 x 96.

    Example:

        >>> config = GLEEEva02Config(hidden_size=8, num_attention_heads=1, rope_grid=4)
        >>> rotary_angles(3, 2, config, torch.device("cpu"))[:, ::2].tolist()
        [[0.0, 0.0], [0.0, 2.0], [2.0, 0.0]]
    """
    count = config.hidden_size // config.num_attention_heads // 4
    speeds = config.rope_theta ** -(torch.arange(count, device=device, dtype=torch.float32) / count)
    places = torch.arange(rows, device=device)
    scale = config.rope_grid / grid
    return torch.cat([axis[:, None] * scale * speeds for axis in (places // grid, places % grid)], 1)


def rotate(states: Tensor, angles: Tensor) -> Tensor:
    """Turn neighbouring channels of `[..., rows, head_dim]`, in float32 or what is finer."""
    first, second = _at_least_float32(states).unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([first * cos - second * sin, second * cos + first * sin], -1).flatten(-2).to(states.dtype)


def resize_positions(positions: Tensor, size: tuple[int, int]) -> Tensor:
    """Learned positions `[1, 1 + grid * grid, dim]`, the first of them of no place, on an image's grid: `[1, height,
    width, dim]`."""
    side = round((positions.shape[1] - 1) ** 0.5)
    grid = positions[:, 1:].unflatten(1, (side, side))
    if (side, side) == size:
        return grid
    grid = _at_least_float32(grid).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size, mode="bicubic", align_corners=False)
    return grid.permute(0, 2, 3, 1).to(positions.dtype)


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


# ---- windows


def to_windows(states: Tensor, size: int) -> Tensor:
    """`[images, height, width, dim]` -> `[images * windows, size * size, dim]`, padded with zeros, which count as
    places of their own."""
    height, width = states.shape[1:3]
    states = F.pad(states, (0, 0, 0, -width % size, 0, -height % size))
    tiles = states.unflatten(2, (-1, size)).unflatten(1, (-1, size))  # images, rows, size, columns, size, dim
    return tiles.transpose(2, 3).flatten(3, 4).flatten(0, 2)


def from_windows(windows: Tensor, size: int, images: int, height: int, width: int) -> Tensor:
    """The way back, without the padding."""
    rows, columns = -(-height // size), -(-width // size)
    tiles = windows.view(images, rows, columns, size, size, -1).transpose(2, 3)
    return tiles.flatten(3, 4).flatten(1, 2)[:, :height, :width]


# ---- layers


class GLEEEva02Attention(nn.Module):
    def __init__(self, config: GLEEEva02Config):
        super().__init__()
        dim = config.hidden_size
        self.num_heads = config.num_attention_heads
        self.q_proj, self.v_proj, self.o_proj = (nn.Linear(dim, dim) for _ in range(3))
        self.k_proj = nn.Linear(dim, dim, bias=False)

    def forward(self, states: Tensor, angles: Tensor) -> Tensor:
        projections = self.q_proj, self.k_proj, self.v_proj
        heads = [project(states).unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for project in projections]
        query, key, value = rotate(heads[0], angles), rotate(heads[1], angles), heads[2]
        return self.o_proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class GLEEEva02MLP(nn.Module):
    """SwiGLU, with a norm before the last projection."""

    def __init__(self, config: GLEEEva02Config):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size)
        self.norm = nn.LayerNorm(config.intermediate_size, eps=config.layer_norm_eps)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, states: Tensor) -> Tensor:
        return self.down_proj(self.norm(F.silu(self.gate_proj(states)) * self.up_proj(states)))


class GLEEEva02Block(GradientCheckpointingLayer):
    """A layer on maps `[images, height, width, dim]`."""

    def __init__(self, config: GLEEEva02Config, index: int):
        super().__init__()
        self.config, self.is_global = config, index in config.global_attention_indexes
        self.norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = GLEEEva02Attention(config)
        self.norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = GLEEEva02MLP(config)
        self.drop_path = SwinDropPath(config.drop_path_rate * index / max(config.num_hidden_layers - 1, 1))

    def forward(self, states: Tensor) -> Tensor:
        states = states + self.drop_path(self.attend(self.norm1(states)))
        return states + self.drop_path(self.mlp(self.norm2(states)))

    def attend(self, states: Tensor) -> Tensor:
        images, height, width, _ = states.shape
        if self.is_global:
            angles = rotary_angles(height * width, self.config.grid, self.config, states.device)
            return self.attention(states.flatten(1, 2), angles).view_as(states)
        size = self.config.window_size
        angles = rotary_angles(size * size, size, self.config, states.device)
        return from_windows(self.attention(to_windows(states, size), angles), size, images, height, width)


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of `[images, channels, height, width]`."""

    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps.movedim(1, -1)).movedim(-1, 1)


class GLEEEva02Pyramid(nn.Module):
    """One map of stride 16 -> maps of strides 8, 16, 32 and 64, the last of which has every second place of the one
    before."""

    def __init__(self, config: GLEEEva02Config):
        super().__init__()
        dim, channels = config.hidden_size, config.pyramid_channels
        self.enlarge = nn.ConvTranspose2d(dim, dim // 2, 2, stride=2)
        self.projections = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inputs, channels, 1, bias=False),
                ChannelNorm(channels, eps=1e-6),
                nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                ChannelNorm(channels, eps=1e-6),
            )
            for inputs in (dim // 2, dim, dim)
        )

    def forward(self, features: Tensor) -> list[Tensor]:
        inputs = self.enlarge(features), features, F.max_pool2d(features, 2)
        maps = [project(values) for project, values in zip(self.projections, inputs, strict=True)]
        return [*maps, maps[-1][..., ::2, ::2]]


class GLEEEva02Backbone(nn.Module):
    """Images `[images, 3, height, width]` -> four `feature_maps` of strides 8, 16, 32 and 64.

    Raises:
        UserError: an image has more patches than there are rotary positions; one line.

    Example:

        >>> config = GLEEEva02Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24)
        >>> [tuple(maps.shape[1:]) for maps in GLEEEva02Backbone(config)(torch.zeros(1, 3, 64, 128)).feature_maps]
        [(256, 8, 16), (256, 4, 8), (256, 2, 4), (256, 1, 2)]
    """

    def __init__(self, config: GLEEEva02Config):
        super().__init__()
        self.config, self.channels = config, [config.pyramid_channels] * NUM_MAPS
        patch = config.patch_size
        self.patch_embedding = nn.Conv2d(config.num_channels, config.hidden_size, patch, stride=patch)
        self.position_embedding = nn.Parameter(torch.zeros(1, 1 + config.position_grid**2, config.hidden_size))
        self.blocks = nn.ModuleList(GLEEEva02Block(config, index) for index in range(config.num_hidden_layers))
        self.pyramid = GLEEEva02Pyramid(config)

    @property
    def dtype(self) -> torch.dtype:
        return self.position_embedding.dtype

    def forward(self, pixel_values: Tensor) -> BackboneOutput:
        states = self.patch_embedding(pixel_values).movedim(1, -1)
        self._check_size(*states.shape[1:3])
        states = states + resize_positions(self.position_embedding, tuple(states.shape[1:3]))
        for block in self.blocks:
            states = block(states)
        return BackboneOutput(feature_maps=tuple(self.pyramid(states.movedim(-1, 1))))

    def _check_size(self, height: int, width: int) -> None:
        rows = self.config.grid**2
        if height * width > rows:
            raise UserError(
                f"an image has {height} x {width} patches of {self.config.patch_size} pixels, this model has "
                f"positions for {rows}; resize images to {self.config.image_size} pixels on the longer side"
            )


__all__ = ["GLEEEva02Backbone", "GLEEEva02Block", "rotary_angles"]
