"""Early fusion computes what Grounding DINO's layer computes, without what GLEE does not use."""

import pytest
import torch
from transformers.models.grounding_dino.modeling_grounding_dino import GroundingDinoFusionLayer

from glus_hf import GLEEConfig
from glus_hf.models.glee.fusion_glee import GLEEFusion, fusion_config


CONFIG = GLEEConfig.tiny()


@pytest.fixture(scope="module")
def pair():
    torch.manual_seed(0)
    ours, theirs = GLEEFusion(CONFIG).eval(), GroundingDinoFusionLayer(fusion_config(CONFIG)).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize("is_masked", [False, True])
def test_locations_read_what_they_read_there(pair, is_masked):
    ours, theirs = pair
    locations, words = torch.randn(3, 50, CONFIG.d_model), torch.randn(3, 7, CONFIG.d_model)
    padding = torch.arange(7) >= torch.tensor([[7], [5], [2]]) if is_masked else None
    (expected, _), _ = theirs(locations, words, attention_mask_text=padding)
    torch.testing.assert_close(ours(locations, words, padding), expected, rtol=1e-5, atol=1e-5)
    if is_masked:
        assert not torch.allclose(ours(locations, words), expected, atol=1e-2)


def test_words_of_all_images_are_folded_once(pair):
    ours, _ = pair
    locations, words = torch.randn(3, 50, CONFIG.d_model), torch.randn(1, 7, CONFIG.d_model)
    torch.testing.assert_close(ours(locations, words), ours(locations, words.expand(3, -1, -1)), rtol=1e-5, atol=1e-5)


def test_gradients_are_the_same(pair):
    locations, words = torch.randn(2, 9, CONFIG.d_model), torch.randn(2, 4, CONFIG.d_model)
    gradients = []
    for module in pair:
        module.zero_grad()
        output = module(locations, words)
        (output if isinstance(output, torch.Tensor) else output[0][0]).square().sum().backward()
        gradients.append({name: each.grad for name, each in module.named_parameters()})
    ours, theirs = gradients
    used = {name for name, gradient in theirs.items() if gradient is not None}
    assert used == {name for name, gradient in ours.items() if gradient is not None} and len(used) == 13
    for name in used:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=1e-4, msg=name)
