"""The mask branch of the recipe on each mask model of transformers that has memories."""

from types import SimpleNamespace

import pytest
import torch

from glus_hf.models.mask_branch import SamMaskBranch
from glus_hf.models.memory_bank import MemoryBank
from tests.models.tiny_mask_models import MASK_MODELS, WIDTH, tiny_mask_model


class Branch(SamMaskBranch):
    """The least that a model of the recipe has."""

    def __init__(self, name):
        self.mask_model = tiny_mask_model(name)
        self.config = SimpleNamespace(
            mask_config=self.mask_model.config,
            num_maskmem=7,
            training_memory_stride=1,
            memory_features="conditioned",
            fuser_scale="checkpoint",
            dense_position_dtype="model",
            detach_memory=False,
        )
        self.dtype = torch.float32


def images(branch, count):
    side = branch.mask_model.config.image_size
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", MASK_MODELS)
def test_masks_remember_and_expressions_do_not_mix(name):
    branch = Branch(name)
    prompts = torch.randn(2, 3, WIDTH, generator=torch.Generator().manual_seed(1), requires_grad=True)
    (together,) = branch.decode_clips(images(branch, 3)[None], prompts, [2])
    side = 4 * branch.mask_model.backbone_feature_sizes[-1][0]
    assert together.shape == (2, 3, side, side)
    for text in range(2):
        (alone,) = branch.decode_clips(images(branch, 3)[None], prompts[[text]], [1])
        torch.testing.assert_close(together[text], alone[0], atol=1e-5, rtol=1e-5)
    (gradient,) = torch.autograd.grad(together[0, 2].square().sum(), prompts)
    assert gradient[1].abs().max() == 0  # of the other expression
    assert (
        gradient[0].abs().amax(-1) > 0
    ).all()  # of this frame's prompt, and of those that its memories were drawn by


@pytest.mark.parametrize("name", MASK_MODELS)
def test_features_are_those_of_the_mask_model_itself(name):
    branch = Branch(name)
    with torch.no_grad():
        pixels = images(branch, 2)
        features = branch.encode_mask_frames(pixels)
        expected = branch.mask_model.get_image_features(pixels, return_dict=True)
    torch.testing.assert_close(features.embedding, expected.fpn_hidden_states[-1])
    torch.testing.assert_close(features.position, expected.fpn_position_encoding[-1].expand_as(features.position))


def test_memories_are_those_of_the_mask_model_itself():
    """SAM 3's memory encoder takes masks of 16 times the feature map, which is not the size of the image."""
    for name in MASK_MODELS:
        branch = Branch(name)
        model, side = branch.mask_model, branch.mask_model.backbone_feature_sizes[-1][0]
        features, logits = torch.randn(2, WIDTH, side, side), torch.randn(2, 4 * side, 4 * side)
        with torch.no_grad():
            memory, position = branch.encode_memory(features, logits)
            masks = torch.nn.functional.interpolate(logits[:, None], size=[16 * side] * 2, mode="bilinear")
            masks = masks.sigmoid() * model.config.sigmoid_scale_for_mem_enc + model.config.sigmoid_bias_for_mem_enc
            for row in range(2):
                expected, encoding = model.memory_encoder(features[[row]], masks[[row]])
                if name == "edgetam_video":
                    expected, encoding = (each.transpose(0, 1) for each in model.spatial_perceiver(expected, encoding))
                else:
                    expected, encoding = (each.flatten(2).permute(2, 0, 1) for each in (expected, encoding))
                torch.testing.assert_close(memory[:, [row]], expected, atol=1e-5, rtol=1e-5)
                torch.testing.assert_close(position[:, [row]], encoding)


def test_a_branch_without_memories_draws_every_frame_alone():
    branch = Branch("edgetam_video")
    features, bank = branch.encode_mask_frames(images(branch, 1)), MemoryBank(0, 1)
    branch.config.num_maskmem = 0
    prompt = torch.randn(1, WIDTH)
    with torch.no_grad():
        first, later = (branch.decode_frame(features, prompt, bank, frame, [True]) for frame in (0, 5))
    assert torch.equal(first, later) and not bank.entries
