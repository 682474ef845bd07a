"""Rows of large JSON files by position: the same as reading the file whole, with little memory."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glus_hf.data import strict_json
from glus_hf.data.json_rows import JsonRows
from glus_hf.data.objects.coco_file import CocoFile
from glus_hf.errors import DatasetFileError
from tests.data.json_values import VALUES
from tests.media.limited_child import run_limited


ROWS = st.lists(st.dictionaries(st.text(max_size=3), VALUES, max_size=3), max_size=4)


@settings(max_examples=100, deadline=None)
@given(
    content=st.dictionaries(st.text(max_size=4), ROWS | VALUES, max_size=4) | ROWS,
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 0, 3]),
    chunk=st.integers(1, 40),
)
def test_rows_by_position_equal_the_whole(content, ascii_only, indent, chunk, tmp_path_factory):
    file = tmp_path_factory.mktemp("json") / "rows.json"
    try:
        file.write_text(json.dumps(content, ensure_ascii=ascii_only, indent=indent), encoding="utf-8")
    except UnicodeEncodeError:  # a lone surrogate cannot be written as UTF-8
        return
    original, strict_json.CHUNK = strict_json.CHUNK, chunk
    lists = content if isinstance(content, dict) else {"": content}
    kinds = [{isinstance(row, dict) for row in rows} for rows in lists.values() if isinstance(rows, list)]
    try:
        rows = JsonRows(file)
    except DatasetFileError as error:
        assert {True, False} in kinds and "an element that is no object" in str(error)
        return
    finally:
        strict_json.CHUNK = original
    assert {True, False} not in kinds
    for name, expected in lists.items():
        has_rows = isinstance(expected, list) and all(isinstance(row, dict) for row in expected)
        assert (name in rows.no_rows) == (not has_rows and expected is not None)
        expected = expected if has_rows else []
        try:
            assert [rows.read(name, index) for index in range(len(rows[name]))] == expected
        except DatasetFileError as error:
            assert "half a character" in str(error)
        if not lists[name]:
            assert (name in rows) == (lists[name] == [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": [{}, ]}', "is not valid JSON or cut short"),
        ('{"a": [{}', "is not valid JSON or cut short"),
        ("[{} {}]", "',' or ']' expected"),
        ('{"a": [{}]', "',' or '}' expected"),
        ("[] []", "text after the end"),
        ('"text"', "the top level must be an object or a list"),
        ('{"a": [], "a": [{}]}', "'a' appears twice"),
    ],
)
def test_no_json_is_one_line(text, message, tmp_path):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DatasetFileError, match=message) as error:
        JsonRows(tmp_path / "x.json")
    assert "\n" not in str(error.value) and "x.json" in str(error.value)


@pytest.mark.slow
def test_a_million_annotations_take_little_memory(tmp_path):
    """160 MB of text, which take more than 1 GB when they are parsed as a whole."""
    with open(tmp_path / "many.json", "w") as file:
        images = ", ".join(f'{{"id": {number}}}' for number in range(1000))
        file.write(f'{{"images": [{images}], "categories": [{{"id": 1, "name": "x"}}], "annotations": [')
        row = '{"id": %d, "image_id": %d, "category_id": 1, "bbox": [1, 2, 3, 4], "text": "' + "x" * 80 + '"}'
        file.write(", ".join(row % (number, number % 1000) for number in range(1_000_000)) + "]}")
    read = lambda: sum(len(annotations) for _, annotations in CocoFile(str(tmp_path / "many.json")).rows())
    outcome = run_limited(read)
    assert outcome.value == 1_000_000 and outcome.added_mb < 250, outcome
