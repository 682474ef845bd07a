"""Where a converted model comes from, and the small files it is read from."""

import json

import pytest

from glus_hf.conversion.provenance import read_json, write_record
from glus_hf.errors import CheckpointError


@pytest.mark.parametrize(
    "content, words",
    [
        (None, "has no config.json"),
        ("", "config.json: cannot be read"),
        ('{"a": 1', "config.json: cannot be read"),
        ("[" * 10**5, "config.json: cannot be read"),
        ("[1]", "config.json: .*is no JSON object"),
        ("7", "config.json: .*is no JSON object"),
    ],
)
def test_files_that_hold_no_object_are_one_line(tmp_path, content, words):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=f"{words}.*; download it again") as error:
        read_json(tmp_path / "config.json")
    assert "\n" not in str(error.value)


def test_equal_conversions_write_equal_records(tmp_path):
    for name, record in (("a", {"x": 1, "y": 2}), ("b", {"y": 2, "x": 1})):
        (tmp_path / name).mkdir()
        write_record(tmp_path / name, record)
    first, second = ((tmp_path / name / "conversion.json").read_bytes() for name in "ab")
    assert first == second
    content = json.loads(first)
    assert (content["x"], content["format"]) == (1, 1) and "torch" in content["versions"]
