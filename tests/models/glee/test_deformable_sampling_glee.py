"""The fast sampling of deformable attention gives what transformers' gives."""

import pytest
import torch
from transformers.models.deformable_detr.modeling_deformable_detr import MultiScaleDeformableAttention

from glus_hf.models.glee.deformable_sampling_glee import DeformableSampling
from tests.models.glee.small_glee import small_model


def inputs(batch=2, queries=7, heads=3, dim=5, points=2, sizes=((4, 6), (2, 3), (1, 1)), spread=1.6):
    """Samples inside the image, around its border and outside."""
    generator = torch.Generator().manual_seed(0)
    areas = torch.tensor([height * width for height, width in sizes])
    shape = (batch, queries, heads, len(sizes), points)
    return {
        "value": torch.randn(batch, int(areas.sum()), heads, dim, generator=generator),
        "value_spatial_shapes": torch.tensor(sizes),
        "value_spatial_shapes_list": list(sizes),
        "level_start_index": areas.cumsum(0) - areas,
        "sampling_locations": torch.rand(*shape, 2, generator=generator) * spread - (spread - 1) / 2,
        "attention_weights": torch.rand(shape, generator=generator),
        "im2col_step": 64,
    }


def both(values):
    with torch.no_grad():
        return DeformableSampling()(*values.values()), MultiScaleDeformableAttention()(**values)


@pytest.mark.parametrize("options", [{}, {"batch": 1, "heads": 1}, {"points": 4, "sizes": ((9, 2),)}, {"spread": 50}])
def test_it_is_the_same(options):
    ours, theirs = both(inputs(**options))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("place", [0.0, 0.5, 1.0, 1e9, -1e9])
def test_samples_at_borders_and_far_away(place):
    values = inputs()
    values["sampling_locations"] = torch.full_like(values["sampling_locations"], place)
    ours, theirs = both(values)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_what_is_no_number_stays_none():
    values = inputs()
    values["sampling_locations"][0, 0] = float("nan")
    ours, _ = both(values)
    assert ours[0, 0].isnan().all() and not ours[:, 1:].isnan().any()


def test_gradients_are_those_of_transformers():
    values, others = inputs(), inputs()
    for each, module in ((values, DeformableSampling()), (others, MultiScaleDeformableAttention())):
        for name in ("value", "sampling_locations", "attention_weights"):
            each[name].requires_grad_()
        module(*each.values()).square().sum().backward()
    for name in ("value", "sampling_locations", "attention_weights"):
        torch.testing.assert_close(values[name].grad, others[name].grad, rtol=0, atol=0)


def test_a_model_answers_the_same_with_and_without_gradients():
    """With gradients, transformers' sampling computes."""
    model, generator = small_model(), torch.Generator().manual_seed(0)
    pixels, names = torch.randn(1, 3, 64, 96, generator=generator), torch.tensor([[1, 5, 2], [1, 6, 2]])
    slow = model(pixels, names, task="category")
    with torch.no_grad():
        fast = model(pixels, names, task="category")
    assert slow.logits.requires_grad and not fast.logits.requires_grad
    torch.testing.assert_close(fast.pred_masks, slow.pred_masks, rtol=1e-4, atol=1e-4)
