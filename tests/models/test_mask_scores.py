"""Masks at the size of the video and their scores: equal to the plain formula, bit by bit."""

import pytest
import torch
from torch.nn import functional as F

from glus_hf.models.mask_scores import mask_confidence, resize_and_score


def plain(low, size, probabilities, answered, order):
    """All expressions at once."""
    logits = F.interpolate(low[:, None].float(), size=size, mode="bilinear", align_corners=False)[:, 0]
    logits = torch.where(torch.tensor(answered)[:, None, None], logits, -100.0)
    inside = logits > 0
    confidence = torch.where(inside, logits.sigmoid(), 0).sum(-1).sum(-1) / inside.flatten(1).sum(1).clamp(min=1)
    return logits[order], (probabilities * confidence)[order]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [(20, 28), (180, 321), (7, 5)])
def test_one_at_a_time_equals_all_at_once(dtype, size):
    torch.manual_seed(0)
    low = 3 * torch.randn(5, 16, 16, dtype=dtype)
    low[1] = -1  # empty
    low[2, 4:9, 3:12] += 9
    arguments = low, size, torch.rand(5), [True, True, True, False, True], [4, 0, 3, 1, 2]
    for found, expected in zip(resize_and_score(*arguments), plain(*arguments), strict=True):
        assert torch.equal(found, expected)


def test_an_empty_mask_has_no_confidence_and_a_full_one_that_of_its_pixels():
    assert mask_confidence(torch.full((3, 4), -1.0)) == 0
    torch.testing.assert_close(mask_confidence(torch.full((3, 4), 2.0)), torch.tensor(2.0).sigmoid())
