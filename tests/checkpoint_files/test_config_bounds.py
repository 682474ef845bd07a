"""Bounds of numbers of configurations."""

import pytest

import glus_hf
from glus_hf.checkpoint_files.config_bounds import BOUNDS, check_names, check_numbers, check_whole_numbers
from glus_hf.errors import UserError


LARGEST = {  # of models there are
    "hidden_size": 18432,
    "num_hidden_layers": 126,
    "num_attention_heads": 128,
    "vocab_size": 262208,
    "intermediate_size": 73728,
    "max_position_embeddings": 10**7,
    "rope_theta": 5e8,
    "image_size": 1536,
}


def test_the_largest_models_are_within_the_bounds():
    check_numbers({"text_config": LARGEST})
    assert all(least <= most for least, most in BOUNDS.values())


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"hidden_size": 0}, "config.json: hidden_size is 0; it must be from 1 to 131072"),
        ({"a": {"b": {"num_hidden_layers": 10**9}}}, "a.b.num_hidden_layers is 1000000000; it must be from 1 to 1024"),
        ({"rope_parameters": {"rope_theta": 0}}, "rope_parameters.rope_theta is 0; it must be from 1e-06"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps is nan"),
        ({"unknown": float("inf")}, "unknown is inf"),
        ({"unknown": 10**30}, "unknown is 1000000"),
        ({"blocks_per_stage": [1, -1]}, "blocks_per_stage is -1; it must be from 1 to 512"),
        ({"unknown": list(range(5000))}, "use at most 4096 entries"),
        ({"unknown": "x" * 5000}, "use at most 4096 letters"),
        ({"attn_implementation": "owner/kernels"}, "must be one of eager, sdpa"),
        ({"dtype": "int8"}, "must be one of auto, float32"),
    ],
)
def test_numbers_out_of_bounds_are_named(fields, message):
    with pytest.raises(UserError) as error:
        check_numbers(fields)
    assert message in str(error.value) and len(str(error.value)) < 200


@pytest.mark.parametrize("name", ["to_dict", "num_image_tokens", "sub_configs", "__class__"])
def test_a_field_cannot_take_the_place_of_a_method(name):
    with pytest.raises(UserError, match=f"{name} cannot be a field"):
        check_names(glus_hf.GLUSConfig, {name: 1})
    with pytest.raises(UserError, match=f"{name} cannot be a field"):
        glus_hf.GLUSConfig.from_dict({name: 1})


@pytest.mark.parametrize("value", [-1, 10**9, 1.5, True, "4", None])
def test_settings_of_a_processor_are_whole_numbers_within_bounds(value):
    with pytest.raises(UserError, match="num_query_frames is .*; it must be a whole number from 1 to 1024"):
        check_whole_numbers(num_query_frames=value)
