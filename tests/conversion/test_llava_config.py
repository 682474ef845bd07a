"""What converters take from the configs of LLaVA and CLIP."""

import json

import pytest

from glus_hf import UserError
from glus_hf.conversion.llava_config import clip_image_processor, pick_fields, refuse_rope_scaling
from glus_hf.errors import CheckpointError
from glus_hf.models.glus.image_processing_glus import GLUSImageProcessor


def test_settings_of_the_clip_go_before_its_size(tmp_path):
    plain = clip_image_processor(GLUSImageProcessor, tmp_path, 28, mask_size={"height": 64, "width": 64})
    assert plain.crop_size["height"] == plain.size["shortest_edge"] == 28 and plain.mask_size["width"] == 64
    saved = {"crop_size": {"height": 14, "width": 14}, "image_std": [1, 1, 1], "of another version": 1}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(saved))
    changed = clip_image_processor(GLUSImageProcessor, tmp_path, 28)
    assert (changed.crop_size["height"], changed.size["shortest_edge"]) == (14, 28)
    assert list(changed.image_std) == [1, 1, 1] and list(changed.image_mean) == list(plain.image_mean)


@pytest.mark.parametrize("content", ["", "[1]", "[" * 10**5, '{"size": "large"}', '{"crop_size": {"depth": 3}}'])
def test_a_broken_file_of_the_clip_is_one_line(tmp_path, content):
    (tmp_path / "preprocessor_config.json").write_text(content)
    with pytest.raises(CheckpointError, match="preprocessor_config.json: .*; download it again") as error:
        clip_image_processor(GLUSImageProcessor, tmp_path, 28)
    assert "\n" not in str(error.value)


def test_fields_that_are_empty_are_left_to_their_defaults():
    assert pick_fields(
        {"vocab_size": 7, "rope_theta": None, "other": 1}, ("vocab_size", "rope_theta", "hidden_size")
    ) == {"vocab_size": 7}


def test_scaled_positions_are_refused():
    refuse_rope_scaling({"rope_scaling": None})
    with pytest.raises(UserError, match="rope_scaling .*linear.* is not supported"):
        refuse_rope_scaling({"rope_scaling": {"type": "linear", "factor": 2.0}})
