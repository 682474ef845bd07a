"""Configuration of the backbone of GLEE-Pro."""

from __future__ import annotations

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from ...checkpoint_files.config_bounds import check_names, check_numbers
from ...errors import CheckpointError


MAX_GRID = 512  # patches on a side
HEAD_PARTS = 4  # a head has pairs of channels for rows, and as many for columns


@strict
class GLEEEva02Config(PreTrainedConfig):
    """
    Configuration of [`~glus_hf.models.glee.eva02_glee.GLEEEva02Backbone`]: an EVA-02 with windows, and the pyramid of
    feature maps on top. The defaults are those of GLEE-Pro.

    Args:
        hidden_size (`int`): 1024.
        num_hidden_layers (`int`): 24.
        num_attention_heads (`int`): 16.
        intermediate_size (`int`): 2730, of the gated feed-forward layers.
        num_channels (`int`): 3.
        patch_size (`int`): 16.
        image_size (`int`): 1536, side of the images that rotary positions are made for; larger ones are refused.
        window_size (`int`): 16, patches on the side of a window.
        global_attention_indexes (`list[int]`, *optional*): layers that attend to the whole image; every third by
            default.
        position_grid (`int`): 14, side of the grid of learned positions; they are resized to that of an image.
        rope_grid (`int`): 16, side of the grid that rotary positions were trained with; those of a window and of a
            whole image are spread over its range.
        rope_theta (`float`): 10000.
        drop_path_rate (`float`): 0.3, of the last layer; it grows from 0.
        layer_norm_eps (`float`): 1e-6.
        pyramid_channels (`int`): 256, of the maps of strides 8, 16, 32 and 64.

    Example:

        >>> from glus_hf import GLEEConfig
        >>> config = GLEEConfig(backbone_config={"model_type": "glee_eva02"})
        >>> config.backbone_config.global_attention_indexes
        [2, 5, 8, 11, 14, 17, 20, 23]
    """

    model_type = "glee_eva02"

    hidden_size: int = 1024
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    intermediate_size: int = 2730
    num_channels: int = 3
    patch_size: int = 16
    image_size: int = 1536
    window_size: int = 16
    global_attention_indexes: list[int] | None = None
    position_grid: int = 14
    rope_grid: int = 16
    rope_theta: float = 10000.0
    drop_path_rate: float = 0.3
    layer_norm_eps: float = 1e-6
    pyramid_channels: int = 256

    def __post_init__(self, **kwargs):
        check_names(type(self), kwargs, "GLEEConfig.backbone_config")
        if self.global_attention_indexes is None:
            self.global_attention_indexes = list(range(2, self.num_hidden_layers, 3))
        check_numbers({**vars(self), **kwargs}, "GLEEConfig.backbone_config")
        problem = self._problem()
        if problem:
            raise CheckpointError(f"GLEEConfig.backbone_config: {problem}; use the file saved with the weights")
        super().__post_init__(**kwargs)

    def _problem(self) -> str | None:
        """What does not go together."""
        if self.hidden_size % (HEAD_PARTS * self.num_attention_heads):
            return f"hidden_size is {self.hidden_size}, no multiple of {HEAD_PARTS} x {self.num_attention_heads} heads"
        if self.image_size % self.patch_size or self.grid > MAX_GRID:
            return f"image_size is {self.image_size}, not 1 to {MAX_GRID} patches of {self.patch_size}"
        if self.window_size > self.grid:
            return f"window_size is {self.window_size}, more than the {self.grid} patches of an image"
        if max(self.global_attention_indexes, default=0) >= self.num_hidden_layers:
            return f"global_attention_indexes names a layer beyond the {self.num_hidden_layers} there are"
        return None

    @property
    def grid(self) -> int:
        """Patches on the side of an image."""
        return self.image_size // self.patch_size

    @property
    def depths(self) -> list[int]:
        """Layers of each stage, as other backbones have them: there is one stage."""
        return [self.num_hidden_layers]


__all__ = ["GLEEEva02Config"]
