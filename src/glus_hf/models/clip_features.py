"""Hidden states of a CLIP tower, from as many of its layers as they need."""

from __future__ import annotations

from torch import Tensor
from transformers import CLIPVisionModel


def clip_hidden_state(tower: CLIPVisionModel, pixel_values: Tensor, layer: int) -> Tensor:
    """Hidden state `layer` of a tower, `[n, 1 + patches, dim]`, as `output_hidden_states` counts them; the layers
    behind it are not run.

    Args:
        tower: in the dtype and on the device of the pixels.
        pixel_values: `[n, 3, height, width]`.
        layer: 0 is what enters the first layer, -1 what leaves the last one, without a norm.

    Raises:
        IndexError: the tower has no such layer.
    """
    layers = tower.encoder.layers
    if not -len(layers) - 1 <= layer <= len(layers):
        raise IndexError(f"the tower has {len(layers)} layers; there is no hidden state {layer}")
    hidden = tower.pre_layrnorm(tower.embeddings(pixel_values))
    for block in layers[: layer % (len(layers) + 1)]:
        hidden = block(hidden, None)
    return hidden


__all__ = ["clip_hidden_state"]
