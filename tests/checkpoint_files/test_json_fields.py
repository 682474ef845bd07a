"""JSON of a checkpoint: what is no object of sane size is refused before it takes memory."""

import pytest

from glus_hf.checkpoint_files.json_fields import MAX_CONTAINERS, parse_fields, read_fields
from glus_hf.errors import CheckpointError


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "no JSON or cut short"),
        (b'{"a": ', "no JSON or cut short"),
        (b"[1]", "is no JSON object"),
        (b"[" * 10**5, "is nested too deeply"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, "is nested more than 64 deep"),
        (b'{"a": 1, "a": 2}', "has the key 'a' twice"),
        (b'{"a": NaN}', "has the value NaN, which is no number"),
        (b'{"a": -Infinity}', "has the value -Infinity"),
        (b'{"a": ' + b"9" * 10**4 + b"}", "has a number of 10000 digits"),
        (b'{"a": "\xff"}', "is not UTF-8, byte 7"),
        (b'{"a": [' + b"[]," * MAX_CONTAINERS + b"1]}", "has more than 2000000 lists and objects"),
    ],
)
def test_what_is_no_sane_object_is_one_line(tmp_path, content, words):
    file = tmp_path / "config.json"
    file.write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        read_fields(file, "json")
    assert str(error.value).startswith(f"{file}: cannot be read ({words}")
    assert str(error.value).endswith("; save the model again") and len(str(error.value)) < 400


def test_an_object_is_read_as_it_is():
    assert parse_fields('{"a": [1, -2.5, "ä"], "b": {"c": null}}'.encode()) == {"a": [1, -2.5, "ä"], "b": {"c": None}}
