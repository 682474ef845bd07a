"""Key frames in the original code's JSON file."""

import json

import pytest

from glus_hf.predictions.key_frame_file import (
    frame_number,
    key_frame_index,
    key_frame_name,
    read_key_frames,
    write_key_frames,
)
from tests.paths import FIXTURES


META = json.loads((FIXTURES / "selector_tiny" / "meta.json").read_text())
EVERY_FIFTH = [f"{number:05d}" for number in range(0, 115, 5)]


def test_round_trip(tmp_path):
    chosen = {key_frame_name("0b97736357", 3): "00025.jpg", key_frame_name("a_b", "1"): 7, "c_0": "00000"}
    write_key_frames(tmp_path / "deep" / "key.json", chosen)
    assert read_key_frames(tmp_path / "deep" / "key.json") == {"0b97736357_3": 25, "a_b_1": 7, "c_0": 0}


def test_upstreams_file(tmp_path):
    (tmp_path / "key.json").write_text(json.dumps(META["keyframes_json"]))
    key_frames = read_key_frames(tmp_path / "key.json")
    assert key_frame_index(key_frames, "cliplong", "0", EVERY_FIFTH) == META["selector_long"]["key_frame_index"]
    ten = [str(number) for number in range(10)]
    assert key_frame_index(key_frames, "clip10", 0, ten) == META["selector"]["key_frame_index"]
    assert key_frame_index(key_frames, "clip10", 1, ten) == META["selector_question"]["key_frame_index"]


def test_frames_keep_their_order():
    names = ["100", "cover", "2", "30"]
    assert [key_frame_index({"v_0": number}, "v", 0, names) for number in (2, 30, 100)] == [2, 3, 0]


def test_a_missing_expression_starts_at_the_first_frame():
    assert key_frame_index({}, "v", 0, ["a frame without a number"]) == 0


def test_a_name_of_thousands_of_digits_is_passed_over():
    assert key_frame_index({"v_0": 5}, "v", 0, ["9" * 5000, "5"]) == 1


def test_unknown_frame():
    with pytest.raises(ValueError, match="video v, expression 0: no frame is named 3; .* 00000 to 00110;") as raised:
        key_frame_index({"v_0": 3}, "v", 0, EVERY_FIFTH)
    assert "\n" not in str(raised.value)
    with pytest.raises(ValueError, match="the video has no frames"):
        key_frame_index({"v_0": 3}, "v", 0, [])


@pytest.mark.parametrize("name", ["frame_5", "", "-3", "1.5.jpg", "٣", "9" * 5000])
def test_names_that_are_no_numbers(tmp_path, name):
    with pytest.raises(ValueError, match="no number for a name"):
        frame_number(name)
    with pytest.raises(ValueError, match="no number"):
        write_key_frames(tmp_path / "key.json", {"v_0": 1, "v_1": name})
    assert not list(tmp_path.iterdir())


TWICE = '{"v_0": 5, "v_0": 0}'
LISTS = '{"v_0": [' + "[]," * 10**7 + "[]]}"  # 30 MB that would take gigabytes


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[1]",
        '{"v_0": "00005"}',
        '{"v_0": true}',
        '{"v_0": -1}',
        '{"v_0": 1.0}',
        '{"v_0": ' + "[" * 100_000,
        TWICE,
        LISTS,
    ],
    ids=range(9),
)
def test_files_that_are_refused(tmp_path, content):
    (tmp_path / "key.json").write_text(content)
    with pytest.raises(ValueError, match="key.json") as raised:
        read_key_frames(tmp_path / "key.json")
    assert "\n" not in str(raised.value)


def test_no_file(tmp_path):
    with pytest.raises(ValueError, match="nowhere.json: .*[Nn]o such file"):
        read_key_frames(tmp_path / "nowhere.json")
