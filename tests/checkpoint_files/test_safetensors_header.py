"""Headers of safetensors files."""

import json

import pytest
import torch
from safetensors.torch import save_file

from glus_hf.checkpoint_files.safetensors_header import read_header
from glus_hf.errors import CheckpointError
from tests.models.checkpoint_mutations import join_weights


def test_types_and_shapes_are_read(tmp_path):
    file = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(2, 3), "b": torch.zeros(4, dtype=torch.bfloat16), "c": torch.arange(2)}, file)
    header = read_header(file)
    assert {name: (weight.dtype, weight.shape, weight.num_bytes) for name, weight in header.items()} == {
        "a": ("F32", (2, 3), 24),
        "b": ("BF16", (4,), 8),
        "c": ("I64", (2,), 16),
    }
    assert [header[name].is_floating for name in "abc"] == [True, True, False]


@pytest.mark.parametrize(
    "header, words",
    [
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, "a takes 8 bytes, but has 4"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}, "a has no shape or no place"),
        ({"a": {"dtype": "F9", "shape": [1], "data_offsets": [0, 4]}}, "a has the type 'F9'"),
        ({"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 8]}}, "a takes"),
        ({name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for name in "ab"}, "overlap or leave gaps"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, "overlap or leave gaps"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, "4 bytes of weights are announced, 8"),
        ({"__metadata__": 7}, "its metadata are no texts"),
        ({"a": None}, "a is no object"),
    ],
)
def test_a_header_that_contradicts_itself_is_one_line(tmp_path, header, words):
    file = tmp_path / "model.safetensors"
    file.write_bytes(join_weights(json.dumps(header).encode(), bytes(8)))
    with pytest.raises(CheckpointError) as error:
        read_header(file)
    assert str(error.value).startswith(f"{file}: its weights are damaged (") and words in str(error.value)
