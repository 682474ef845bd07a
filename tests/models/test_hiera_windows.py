"""SAM-2's image encoder without padding gives what that of transformers gives."""

import copy

import pytest
import torch
from transformers import AutoConfig, AutoModel

from glus_hf.models.hiera_windows import hiera_maps, is_hiera
from tests.models.common import randomize
from tests.models.tiny_mask_models import HIERA, SAM2_VISION, shared, tiny_mask_model


SIDE = 96  # maps of 24, 12, 6 and 3


def hiera_model(windows):
    """A `Sam2VideoModel` of 96 pixels with these window sizes."""
    backbone = copy.deepcopy(HIERA) | {
        "image_size": [SIDE, SIDE],
        "blocks_per_stage": [1, 2, 3, 1],
        "window_size_per_stage": list(windows),
        "global_attention_blocks": [4],
    }
    sizes = [[SIDE // stride] * 2 for stride in (4, 8, 16)]
    vision = SAM2_VISION | {"backbone_config": backbone, "backbone_feature_sizes": sizes}
    options = shared(SIDE, SIDE // 16) | {"image_size": SIDE, "vision_config": vision}
    torch.manual_seed(0)
    model = AutoModel.from_config(AutoConfig.for_model("sam2_video", **options))
    return randomize(model).eval()


def largest_difference(model, count=2):
    """Over all maps, as a share of the map's range."""
    side = model.config.image_size
    pixels = torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1)).to(model.dtype)
    with torch.no_grad():
        expected = model.get_image_features(pixels, return_dict=True).fpn_hidden_states
        found = hiera_maps(model, pixels)
    assert len(found) == len(expected) == 3
    differences = []
    for tokens, map in zip(expected, found, strict=True):
        difference = (map.flatten(2).permute(2, 0, 1) - tokens).abs().max()
        differences.append(float(difference / (tokens.max() - tokens.min())))
    return max(differences)


@pytest.mark.parametrize(
    "windows",
    [
        (4, 4, 2, 3),  # all windows are whole
        (8, 8, 4, 2),  # rests in the second, third and last stage
        (12, 8, 14, 7),  # windows larger than the map, as SAM-2 at 256 pixels has them
        (8, 4, 5, 2),  # an odd window at a pooling block, which is left as it is
    ],
)
def test_maps_are_those_of_transformers_whatever_the_windows(windows):
    assert largest_difference(hiera_model(windows)) <= 1e-6


def test_maps_are_equal_in_double_precision():
    assert largest_difference(hiera_model((12, 8, 14, 7)).double()) <= 1e-12


def test_other_encoders_are_left_alone():
    assert is_hiera(tiny_mask_model("sam2_video"))
    assert not is_hiera(tiny_mask_model("sam3_tracker_video"))
