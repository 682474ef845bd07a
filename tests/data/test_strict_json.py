import json
import os
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glus_hf.data import strict_json as json_files
from glus_hf.data.strict_json import JsonObject, cached_json, read_json
from glus_hf.errors import DatasetFileError
from tests.data.json_values import VALUES
from tests.media.limited_child import run_limited


@settings(max_examples=150, deadline=None)
@given(
    content=st.dictionaries(st.text(), VALUES, max_size=6),
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 0, 3]),
    chunk=st.integers(1, 40),
    mark=st.booleans(),
)
def test_members_by_key_equal_the_whole(content, ascii_only, indent, chunk, mark, tmp_path_factory):
    file = tmp_path_factory.mktemp("json") / "object.json"
    text = json.dumps(content, ensure_ascii=ascii_only, indent=indent)
    try:
        file.write_text(text, encoding="utf-8-sig" if mark else "utf-8")
    except UnicodeEncodeError:  # a lone surrogate cannot be written as UTF-8
        return
    original, json_files.CHUNK = json_files.CHUNK, chunk
    try:
        members = JsonObject(str(file))
    finally:
        json_files.CHUNK = original
    assert list(members) == list(content) and len(members) == len(content)
    assert {key: members[key] for key in members} == content == read_json(file)


@pytest.mark.parametrize("chunk", [1, 3, 1 << 20])
@pytest.mark.parametrize(
    "text",
    ["", " ", "[]", "1", "{", '{"a"', '{"a":', '{"a": [1', '{"a": 1', '{"a": 1,', '{"a": 1,}', '{"a": 1} x', "{a: 1}",
     '{"a": 1 "b": 2}', '{"a" 1}', '{"a": "x', '{"a": 12', '{"a": tru}', '{"a": 1, "a": 2}', '{1: 2}'],
)  # fmt: skip
def test_malformed_objects(text, chunk, tmp_path, monkeypatch):
    monkeypatch.setattr(json_files, "CHUNK", chunk)
    file = tmp_path / "object.json"
    file.write_text(text)
    with pytest.raises(DatasetFileError, match=str(file)) as caught:
        JsonObject(str(file))
    assert "\n" not in str(caught.value)


def test_key_twice_deep_inside(tmp_path):
    file = tmp_path / "file.json"
    file.write_text('{"a": [{"b": {"c": 1, "d": 2, "c": 3}}]}')
    with pytest.raises(DatasetFileError, match="'c' appears twice"):
        read_json(file)
    with pytest.raises(DatasetFileError, match="'c' appears twice"):
        JsonObject(str(file))["a"]


def test_key_twice_says_which(tmp_path):
    file = tmp_path / "file.json"
    file.write_text('{"a": {"0": {"exp": "a cat"}, "0": {"exp": "%s"}}}' % ("a dög " * 99), "utf-8")
    with pytest.raises(DatasetFileError) as caught:
        read_json(file)
    assert "'0' appears twice, the second time with {'exp': 'a dög a dög" in str(caught.value)
    assert len(str(caught.value)) < len(str(file)) + 150 and "\n" not in str(caught.value)


def test_text_that_is_not_utf8(tmp_path):
    file = tmp_path / "file.json"
    file.write_bytes(b'{"a": "caf\xe9"}')
    with pytest.raises(DatasetFileError, match=r"file.json: is not UTF-8 \(byte 10\)"):
        read_json(file)
    with pytest.raises(DatasetFileError, match="is not UTF-8"):
        JsonObject(str(file))["a"]


def test_deep_nesting_and_missing_files(tmp_path):
    file = tmp_path / "file.json"
    file.write_text('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}")
    for read in (read_json, JsonObject):
        with pytest.raises(DatasetFileError, match="file.json"):
            read(str(file))
        with pytest.raises(DatasetFileError, match="gone.json: no such file"):
            read(str(tmp_path / "gone.json"))


def test_the_kept_content_follows_the_file(tmp_path):
    file = tmp_path / "file.json"
    file.write_text('{"a": 1}')
    assert cached_json(str(file)) is cached_json(str(file))
    file.write_text('{"a": 22}')
    assert cached_json(str(file)) == {"a": 22}


# --- hostile files ---------------------------------------------------------------------------------------------------


BOMBS = {
    "lists": lambda: b"[" + b"[]," * 10_000_000 + b"[]]",
    "objects": lambda: b"[" + b"{}," * 5_000_000 + b"{}]",
    "numbers": lambda: b"[" + b"1," * 22_000_000 + b"1]",
    "keys": lambda: b"{" + b'"name":0,' * 5_500_000 + b'"name":0}',
}


SLOW_BOMBS = ("lists", "keys")  # as the others, of 10 seconds


@pytest.mark.parametrize(
    "bomb", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW_BOMBS)) for name in BOMBS]
)
def test_what_takes_far_more_memory_than_its_file(bomb, tmp_path):
    (tmp_path / "a.json").write_bytes(BOMBS[bomb]())
    (tmp_path / "b.json").write_bytes(b'{"a":' + BOMBS[bomb]() + b"}")
    for read in (lambda: read_json(tmp_path / "a.json"), lambda: JsonObject(str(tmp_path / "b.json"))):
        outcome = run_limited(read)
        assert outcome.kind == "DatasetFileError"
        assert re.search(r"[ab].json: .*may take .* of memory, 1.5 GB are allowed", outcome.error), outcome.error
        assert outcome.added_mb < 700


def test_too_many_keys(tmp_path, monkeypatch):
    monkeypatch.setattr(json_files, "MAX_KEYS", 3)
    (tmp_path / "a.json").write_text('{"a":0,"b":0,"c":0,"d":0}')
    with pytest.raises(DatasetFileError, match="a.json: has more than 3 keys"):
        JsonObject(str(tmp_path / "a.json"))


@pytest.mark.parametrize("read", [read_json, JsonObject, json_files.cached_json, json_files.cached_json_object])
def test_not_a_regular_file(read, tmp_path):
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(DatasetFileError, match=r"a.json: is a named pipe, not an annotation file"):
        read(str(tmp_path / "a.json"))
    with pytest.raises(DatasetFileError, match="/dev/zero: is a device"):
        read("/dev/zero")


def test_an_edit_that_keeps_size_and_time_is_noticed(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": 1}')
    times = os.stat(path)
    assert json_files.cached_json(str(path)) == {"a": 1}
    path.write_text('{"a": 2}')
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert json_files.cached_json(str(path)) == {"a": 2}
    assert json_files.cached_json_object(str(path))["a"] == 2
