"""Hidden states of CLIP, without the layers behind them."""

import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModel

from glus_hf.models.clip_features import clip_hidden_state


@pytest.fixture(scope="module")
def tower():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 3}
    return CLIPVisionModel._from_config(CLIPVisionConfig(**sizes, image_size=16, patch_size=8)).eval()


@pytest.mark.parametrize("layer", range(-4, 4))
def test_it_is_the_hidden_state_of_the_whole_tower(tower, layer):
    pixels = torch.randn(2, 3, 16, 16)
    expected = tower(pixels, output_hidden_states=True).hidden_states[layer]
    assert torch.equal(clip_hidden_state(tower, pixels, layer), expected)


def test_layers_behind_it_are_not_run(tower, monkeypatch):
    monkeypatch.setattr(tower.encoder.layers[-1], "forward", None)
    assert clip_hidden_state(tower, torch.zeros(1, 3, 16, 16), -2).shape == (1, 5, 16)


@pytest.mark.parametrize("layer", [-5, 4])
def test_a_layer_that_the_tower_lacks_is_an_error(tower, layer):
    with pytest.raises(IndexError, match="3 layers"):
        clip_hidden_state(tower, torch.zeros(1, 3, 16, 16), layer)
