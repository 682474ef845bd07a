"""Manifests: the same rows from every format, and one line about whatever is wrong with one."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from glus_hf.data import video_list
from glus_hf.data.video_list import read_video_list
from glus_hf.errors import DatasetFileError


ENTRIES = [
    {"video": "clips/dog.mp4", "expressions": ["the dog", "the cat"]},
    {"video": "clips/cat.mp4", "expressions": ["the cat"]},
]
PAIRS = [(entry["video"], text) for entry in ENTRIES for text in entry["expressions"]]


def write_lines(path, *entries):
    path.write_text("".join((entry if isinstance(entry, str) else json.dumps(entry)) + "\n" for entry in entries))
    return path


def write_csv(path, header, *rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def found(path):
    return [(row["video_id"], row["expression_id"], row["expression"], row["video"]) for row in read_video_list(path)]


def test_all_formats_give_the_same_rows(tmp_path):
    lines = write_lines(tmp_path / "m.jsonl", *ENTRIES)
    cells = write_csv(tmp_path / "m.csv", ["video", "expression"], *PAIRS)
    pq.write_table(pa.Table.from_pylist(ENTRIES), tmp_path / "m.parquet")
    flat = [{"video": video, "expression": text, "other": 1.5} for video, text in PAIRS]
    pq.write_table(pa.Table.from_pylist(flat), tmp_path / "flat.parquet")
    dog, cat = str(tmp_path / "clips" / "dog.mp4"), str(tmp_path / "clips" / "cat.mp4")
    expected = [
        ("clips/dog", "0", "the dog", dog),
        ("clips/dog", "1", "the cat", dog),
        ("clips/cat", "0", "the cat", cat),
    ]
    for path in (lines, cells, tmp_path / "m.parquet", tmp_path / "flat.parquet"):
        assert found(path) == expected, path.name


def test_addresses_and_ids(tmp_path):
    path = write_lines(
        tmp_path / "m.jsonl",
        {"video": "https://host/a/dog.mp4?sig=1", "expression": "x"},
        {"video": "s3://bucket/cat.mp4", "expression": "x", "expression_id": 7, "key_frame": 3},
        {"video": "tar://clips/a.b.mp4::shards/0.tar", "expression": "x"},
        {"video": "/data/bird.mp4", "expressions": ["x", "y"], "video_id": "other/bird"},
        {"video": "../up.mp4", "expression": "x"},
    )
    rows = read_video_list(path)
    assert [(row["video_id"], row["expression_id"], row["key_frame"]) for row in rows] == [
        ("dog", "0", None),
        ("cat", "7", 3),
        ("a.b", "0", None),
        ("other/bird", "0", None),
        ("other/bird", "1", None),
        ("up", "0", None),
    ]
    assert rows[0]["video"] == "https://host/a/dog.mp4?sig=1"
    assert rows[2]["video"] == f"tar://clips/a.b.mp4::{tmp_path / 'shards' / '0.tar'}"
    assert rows[5]["video"] == str(tmp_path / ".." / "up.mp4")


def test_lines_of_one_video_are_together(tmp_path):
    lines = [{"video": name, "expression": f"{name} {number}"} for number in range(2) for name in ("a.mp4", "b.mp4")]
    rows = read_video_list(write_lines(tmp_path / "m.jsonl", *lines))
    assert [(row["video_id"], row["expression_id"]) for row in rows] == [
        ("a", "0"),
        ("a", "1"),
        ("b", "0"),
        ("b", "1"),
    ]


OK = {"video": "a.mp4", "expression": "x"}
WRONG_LINES = {
    "no JSON": ("{", "line 1: is not JSON"),
    "a list": ("[1]", "line 1: is a JSON list"),
    "no video": ({"expression": "x"}, "line 1: 'video' must be a path"),
    "video is a number": ({**OK, "video": 3}, "got int 3"),
    "video with a zero byte": ({**OK, "video": "a\0.mp4"}, "no path and no address"),
    "endless video": ({**OK, "video": "a" * 10_000}, "no path and no address"),
    "no expression": ({"video": "a.mp4"}, "neither 'expression' nor 'expressions'"),
    "both": ({**OK, "expressions": ["y"]}, "both 'expression' and 'expressions'"),
    "empty list": ({"video": "a.mp4", "expressions": []}, "must be a list of texts"),
    "text for a list": ({"video": "a.mp4", "expressions": "the dog"}, "must be a list of texts"),
    "empty expression": ({**OK, "expression": " \n"}, "must be a text that is not empty"),
    "number among texts": ({"video": "a.mp4", "expressions": ["x", 4]}, "must be a text that is not empty, got '4'"),
    "id leaves the folder": ({**OK, "video_id": "../../etc"}, "not a plain name"),
    "absolute id": ({**OK, "video_id": "/etc"}, "not a plain name"),
    "id with a slash": ({**OK, "expression_id": "a/b"}, "must not hold '/'"),
    "id of a list": ({"video": "a.mp4", "expressions": ["x", "y"], "expression_id": "1"}, "goes with one"),
    "negative key frame": ({**OK, "key_frame": -1}, "must be the number of a frame"),
    "key frame is true": ({**OK, "key_frame": True}, "must be the number of a frame"),
    "broken tar address": ({**OK, "video": "tar://a.mp4"}, "write tar://MEMBER::FILE"),
    "no name": ({**OK, "video": "https://host/"}, "add a 'video_id'"),
}


@pytest.mark.parametrize("name", WRONG_LINES)
def test_a_wrong_line_is_named(tmp_path, name):
    line, message = WRONG_LINES[name]
    with pytest.raises(DatasetFileError, match="m.jsonl, line 1: ") as error:
        read_video_list(write_lines(tmp_path / "m.jsonl", line))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_what_belongs_together_must_agree(tmp_path):
    same_name = [{"video": "/x/a.mp4", "expression": "x"}, {"video": "/y/a.mp4", "expression": "x"}]
    with pytest.raises(DatasetFileError, match="line 2: /y/a.mp4 and /x/a.mp4 would both be video 'a'"):
        read_video_list(write_lines(tmp_path / "m.jsonl", *same_name))
    with pytest.raises(DatasetFileError, match="two expressions with the id '0'"):
        read_video_list(write_lines(tmp_path / "m.jsonl", OK, {**OK, "expression_id": "0"}))


def test_files_that_are_no_manifests(tmp_path):
    cases = {
        "m.txt": (b"", "name that ends in .jsonl, .csv, .parquet"),
        "empty.jsonl": (b"", "lists no expressions"),
        "noise.parquet": (bytes(range(256)) * 4, "not a readable Parquet file"),
        "short.parquet": (b"PAR1", "not a readable Parquet file"),
        "noise.csv": (b"\xff\xfe\x00", "is not UTF-8"),
        "header.csv": (b"film,text\n", "no columns 'video' and 'expression'"),
        "fewer.csv": (b"video,expression\na.mp4\n", "line 2: has fewer cells"),
        "more.csv": (b"video,expression\na.mp4,x,y\n", "line 2: has more cells"),
        "twice.csv": (b"video,expression,video\na.mp4,x,b.mp4\n", "has two columns 'video'"),
        "quote.csv": (b'video,expression\n"a.mp4,x\n', "is not CSV"),
    }
    for name, (content, message) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DatasetFileError, match=message) as error:
            read_video_list(tmp_path / name)
        assert "\n" not in str(error.value)
    with pytest.raises(DatasetFileError, match="no such file"):
        read_video_list(tmp_path / "missing.jsonl")


def test_parquet_columns_of_other_kinds(tmp_path):
    for columns in ({"video": [1.5], "expression": ["x"]}, {"video": ["a"], "expression": [[["x"]]]}):
        pq.write_table(pa.table(columns), tmp_path / "m.parquet")
        with pytest.raises(DatasetFileError, match="holds "):
            read_video_list(tmp_path / "m.parquet")
    pq.write_table(pa.table({"film": ["a"]}), tmp_path / "m.parquet")
    with pytest.raises(DatasetFileError, match="row 1: 'video' must be a path"):
        read_video_list(tmp_path / "m.parquet")


def test_parquet_columns_that_say_nothing(tmp_path):
    texts = pa.array(["x"]), pa.array(["y"]), pa.array(["z"])
    pq.write_table(pa.Table.from_arrays(texts, ["video", "video", "expression"]), tmp_path / "m.parquet")
    with pytest.raises(DatasetFileError, match="has two columns 'video'"):
        read_video_list(tmp_path / "m.parquet")
    offsets = pa.py_buffer(np.array([0, 2], np.int32).tobytes())
    broken = pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(b"\xff\xfe")])
    pq.write_table(pa.table({"video": ["a.mp4"], "expression": broken}), tmp_path / "m.parquet")
    with pytest.raises(DatasetFileError, match="m.parquet: holds a text that is not UTF-8"):
        read_video_list(tmp_path / "m.parquet")


def test_a_small_file_of_many_rows_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(video_list, "MAX_EXPRESSIONS", 1000)
    many = pa.table({"video": pa.array(["a.mp4"]), "expressions": pa.array([["x"] * 1001])})
    pq.write_table(many, tmp_path / "m.parquet")
    assert (tmp_path / "m.parquet").stat().st_size < 2000
    with pytest.raises(DatasetFileError, match="more than 1000 expressions"):
        read_video_list(tmp_path / "m.parquet")
    with pytest.raises(DatasetFileError, match="more than 1000 expressions"):
        read_video_list(write_lines(tmp_path / "m.jsonl", {"video": "a.mp4", "expressions": ["x"] * 1001}))
