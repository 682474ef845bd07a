import json
import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from glus_hf.data.frames import read_frame, read_frames
from glus_hf.data.load_dataset import load_referring_dataset
from glus_hf.data.own.check import check_own_data
from glus_hf.data.own.videos import FLAT_SPLIT, find_splits
from glus_hf.media.rle import decode_rle, encode_rle
from glus_hf.media.video import load_video, write_video
from glus_hf.training.samples.referring_video_dataset import ReferringVideoDataset
from tests.data.own.own_folders import CLIP, good_data, runs_of, write_frames, write_lines


def load(folder, tmp_path, split="train"):
    return load_referring_dataset("own", folder, split=split, cache_dir=tmp_path / "cache")


# --- loading


def test_rows(tmp_path):
    folder = good_data(tmp_path / "own")
    rows = list(load(folder, tmp_path))
    names = [(row["video_id"], row["expression_id"], row["expression_type"]) for row in rows]
    assert names == [
        ("clip1", "0", None),
        ("clip1", "again", "static"),
        ("clip1", "70", None),
        ("clip2", "0", "no_target"),
        ("clip2", "1", None),
    ]
    assert rows[0]["expression"] == "The first thing." and rows[3]["expression"] == "an elephant – ein Elefant"
    assert {(row["dataset"], row["height"], row["width"]) for row in rows} == {("own", 64, 64)}
    assert all(row["frames"] == [f"{index:05d}" for index in range(6)] for row in rows)
    assert rows[0]["object_ids"] == rows[1]["object_ids"] == ["masks/clip1/0"]
    assert rows[2]["object_ids"] == ["one", "70/1"] and rows[3]["object_ids"] == []


def test_masks(tmp_path):
    rows = list(load(good_data(tmp_path / "own"), tmp_path))
    first, second = CLIP.masks[0].copy(), CLIP.masks[1]
    for row, expected in ((rows[4], first), (rows[3], np.zeros_like(first))):
        assert [rle is None for rle in row["masks"]] == [not mask.any() for mask in expected]
    first[2] = False  # this file is missing: absent there
    for row, expected in ((rows[0], first), (rows[1], first), (rows[2], first | second)):
        for rle, mask in zip(row["masks"], expected, strict=True):
            np.testing.assert_array_equal(decode_rle(rle, (64, 64)), mask)
    assert rows[0]["object_masks"] is None and len(rows[2]["object_masks"]) == 2


def test_frames_of_folders_and_video_files(tmp_path):
    folder = good_data(tmp_path / "own")
    rows = list(load(folder, tmp_path))
    for frame, expected in zip(read_frames(rows[0]["frame_paths"]), CLIP.frames, strict=True):
        np.testing.assert_array_equal(frame, expected)
    decoded = load_video(folder / "videos" / "clip2.mp4").frames
    assert rows[3]["frame_paths"][2] == f"video://2::{folder / 'videos' / 'clip2.mp4'}"
    for index in (5, 0, 3):
        frame = read_frame(rows[3]["frame_paths"][index])
        np.testing.assert_array_equal(frame, decoded[index])
        frame[:] = 0  # a reader's copy, not the memory of the cache
        np.testing.assert_array_equal(read_frame(rows[3]["frame_paths"][index]), decoded[index])


@pytest.mark.parametrize(
    "address, words",
    [("video://6::{}", "frames 0 to 5"), ("video://x::{}", "frames 0 to 5"), ("video://0::{}x", "no such file")],
)
def test_wrong_video_addresses(tmp_path, address, words):
    write_video(tmp_path / "clip.mp4", CLIP.frames, fps=8)
    with pytest.raises(ValueError, match=words):
        read_frame(address.format(tmp_path / "clip.mp4"))


def test_unlabelled_lines(tmp_path):
    write_frames(tmp_path / "own" / "videos" / "clip")
    write_lines(tmp_path / "own", [{"video": "clip", "expression": "a"}])
    (row,) = load(tmp_path / "own", tmp_path)
    assert row["masks"] is None and row["object_ids"] == []
    assert check_own_data(tmp_path / "own").errors == []


def test_training_samples(tmp_path):
    folder = good_data(tmp_path / "own")
    dataset = ReferringVideoDataset(load(folder, tmp_path))
    assert len(dataset) == 2 and {dataset[index]["video_id"] for index in (0, 1)} == {"clip1", "clip2"}
    assert dataset[0]["masks"].shape == (3, 4, 64, 64)


def test_splits(tmp_path):
    for split in ("train", "valid"):
        good_data(tmp_path / "own" / split)
    write_lines(tmp_path / "own" / "valid", [{"video": "clip1", "expression": "only this", "masks": "masks/clip1/0"}])
    assert list(find_splits(tmp_path / "own")) == ["train", "valid"]
    assert len(load(tmp_path / "own", tmp_path)) == 5
    assert len(load(tmp_path / "own", tmp_path, "valid")) == len(load(tmp_path / "own", tmp_path, "validation")) == 1
    with pytest.raises(ValueError, match="has no split 'test'; use train, valid"):
        load(tmp_path / "own", tmp_path, "test")
    write_lines(tmp_path / "own", [])
    with pytest.raises(ValueError, match="keep one layout"):
        load(tmp_path / "own", tmp_path)


def test_edited_data_is_read_anew(tmp_path):
    folder = good_data(tmp_path / "own")
    assert find_splits(folder) == {FLAT_SPLIT: folder} and len(load(folder, tmp_path)) == 5
    lines = (folder / "expressions.jsonl").read_text().splitlines()
    write_lines(folder, lines[:2])
    assert len(load(folder, tmp_path)) == 2
    (folder / "masks" / "clip1" / "0" / "00000.png").unlink()
    assert load(folder, tmp_path)[0]["masks"][0] is None


def test_natural_order_and_nested_names(tmp_path):
    write_frames(tmp_path / "own" / "videos" / "park" / "a", names=[str(number) for number in (1, 2, 3, 9, 10, 11)])
    write_lines(tmp_path / "own", [{"video": "park/a", "expression": "x"}])
    (row,) = load(tmp_path / "own", tmp_path)
    assert row["video_id"] == "park/a" and row["frames"] == ["1", "2", "3", "9", "10", "11"]
    np.testing.assert_array_equal(read_frame(row["frame_paths"][4]), CLIP.frames[4])


# --- checking


def test_good_data_is_ok(tmp_path):
    report = check_own_data(good_data(tmp_path))
    assert (report.errors, report.warnings) == ([], [])
    assert (report.num_videos, report.num_expressions, report.num_frames) == (2, 5, 12)


def bad_runs(masks, index, rle):
    runs = runs_of(masks)
    runs[index] = rle
    return runs


MASKS = CLIP.masks[0]
BAD_LINES = [
    ("{'video': 'clip1'}", "is not JSON"),
    ('{"video": "clip1", "expression": "a"', "is not JSON (Expecting ',' delimiter, column 37)"),
    ("[1, 2]", "is a JSON list"),
    ('{"video": "clip1", "video": "clip1", "expression": "a"}', "'video' appears twice"),
    ("[" * 100_000, "is not JSON"),
    ({"video": "clip1"}, "'expression' must be a text, got NoneType"),
    ({"expression": "a"}, "'video' None is a NoneType"),
    ({"video": "", "expression": "a"}, "'video' '' is not a plain name"),
    ({"video": "../clip1", "expression": "a"}, "not a plain name"),
    ({"video": "/clip1", "expression": "a"}, "not a plain name"),
    ({"video": "clip9", "expression": "a"}, "video 'clip9': no folder videos/clip9"),
    ({"video": "clip2.mp4", "expression": "a"}, "name it without its suffix"),
    ({"video": "clip1", "expression": "a", "mask": []}, "unknown field 'mask'"),
    ({"vidoe": "clip1", "expression": "a"}, "unknown field 'vidoe'; the fields are video"),
    ({"video": "clip1", "expresion": "a"}, "unknown field 'expresion'; the fields are video, expression"),
    ({"video": "clip1", "expression": "a", "objects": [{"mask": "masks/clip1/0"}]}, "object 0: unknown field 'mask'"),
    ({"video": "clip1", "expression": " . "}, "'expression' is empty"),
    ({"video": "clip1", "expression": 3}, "'expression' must be a text, got int"),
    ('{"video": "clip1", "expression": "a \\ud800"}', "half a character"),
    ({"video": "clip1", "expression": "a", "id": "x/y"}, "'id' must not hold '/'"),
    ({"video": "clip1", "expression": "a", "id": True}, "'id' True is a bool"),
    ({"video": "clip1", "expression": "a", "id": "again"}, "has the expression id 'again' on line 2 too"),
    ({"video": "clip1", "expression": "a", "type": 3}, "'type' must be a text"),
    ({"video": "clip1", "expression": "a", "masks": 3}, "'masks' must be a folder or a list of masks, got int"),
    ({"video": "clip1", "expression": "a", "masks": "masks/none"}, "no folder masks/none"),
    ({"video": "clip1", "expression": "a", "masks": "../masks"}, "not a plain name"),
    ({"video": "clip1", "expression": "a", "masks": "videos"}, "videos holds no .png"),
    ({"video": "clip1", "expression": "a", "masks": [], "objects": []}, "both 'masks' and 'objects'"),
    ({"video": "clip1", "expression": "a", "objects": {}}, "'objects' must be a list, got dict"),
    ({"video": "clip1", "expression": "a", "objects": [3]}, "object 0 must be an object"),
    ({"video": "clip1", "expression": "a", "objects": [{"id": "1"}]}, "object 0 has no 'masks'"),
    (
        {"video": "clip1", "expression": "a", "objects": [{"masks": "masks/clip1/0", "x": 1}]},
        "object 0: unknown field",
    ),
    ({"video": "clip1", "expression": "a", "objects": [{"masks": "masks/clip1/0"}] * 2}, "two objects have the masks"),
    (
        {"video": "clip1", "expression": "a", "objects": [{"id": 1, "masks": runs_of(MASKS)}] * 2},
        "two objects have the id '1'",
    ),
    ({"video": "clip1", "expression": "a", "masks": runs_of(MASKS)[:5]}, "5 masks, but video 'clip1' has 6 frames"),
    ({"video": "clip1", "expression": "a", "masks": bad_runs(MASKS, 3, encode_rle(np.ones((4, 4), bool)))}, "mask 3"),
    ({"video": "clip1", "expression": "a", "masks": bad_runs(MASKS, 2, {"size": [64, 64], "counts": "zz"})}, "mask 2"),
    (
        {"video": "clip1", "expression": "a", "masks": bad_runs(MASKS, 1, "runs")},
        "mask 1 (frame 00001): a mask must be",
    ),
]


@pytest.mark.parametrize("line, words", BAD_LINES, ids=[words for _, words in BAD_LINES])
def test_bad_lines_are_found_and_not_loaded(tmp_path, line, words):
    folder = good_data(tmp_path / "own")
    lines = (folder / "expressions.jsonl").read_text("utf-8").splitlines()
    write_lines(folder, [*lines, "", line])
    (problem,) = check_own_data(folder).errors
    assert (problem.file, problem.line) == ("expressions.jsonl", 7) and words in problem.message
    assert str(problem).startswith("expressions.jsonl:7: ") and "\n" not in str(problem)
    with pytest.raises(ValueError, match=r"expressions\.jsonl:7: ") as error:
        load(folder, tmp_path)
    assert "\n" not in str(error.value)


def test_an_unlike_field_does_not_hide_that_one_is_missing(tmp_path):
    folder = good_data(tmp_path)
    write_lines(folder, [{"video": "clip1", "caption": "a"}])
    messages = [problem.message for problem in check_own_data(folder).errors]
    assert [message.split(";")[0] for message in messages] == [
        "unknown field 'caption'",
        "'expression' must be a text, got NoneType",
    ]


def test_every_problem_is_listed(tmp_path):
    folder = good_data(tmp_path)
    good = (folder / "expressions.jsonl").read_text("utf-8").splitlines()
    bad = [line if isinstance(line, str) else json.dumps(line) for line, _ in BAD_LINES]
    write_lines(folder, [*good, *bad])
    with open(folder / "expressions.jsonl", "ab") as file:
        file.write('{"video": "clip1", "expression": "Größe"}\n'.encode("latin-1"))
    errors = check_own_data(folder).errors
    assert [problem.line for problem in sorted(errors, key=lambda problem: problem.line)] == list(
        range(6, 7 + len(bad))
    )
    for line, (_, words) in enumerate(BAD_LINES, start=6):
        assert any(problem.line == line and words in problem.message for problem in errors), words
    assert "not UTF-8 (byte 37)" in next(problem.message for problem in errors if problem.line == 6 + len(bad))


def spoil_frame(folder):
    (folder / "videos" / "clip1" / "00003.png").write_bytes(b"no image")
    return "videos/clip1/00003.png", "cannot be read as an image"


def shrink_frame(folder):
    Image.new("RGB", (32, 16)).save(folder / "videos" / "clip1" / "00004.png")
    return "videos/clip1/00004.png", r"is \[16, 32\] \(height, width\), but 00000.png is \[64, 64\]"


def shrink_mask(folder):
    Image.new("L", (32, 16)).save(folder / "masks" / "clip1" / "0" / "00004.png")
    return "masks/clip1/0/00004.png", r"is \[16, 32\] \(height, width\), but the video is \[64, 64\]"


def colour_mask(folder):
    Image.new("RGB", (64, 64)).save(folder / "masks" / "clip1" / "0" / "00004.png")
    return "masks/clip1/0/00004.png", "has mode RGB"


def spoil_mask(folder):
    (folder / "masks" / "clip1" / "0" / "00004.png").write_bytes(b"")
    return "masks/clip1/0/00004.png", "cannot be read as an image"


def stray_mask(folder):
    mask = folder / "masks" / "clip1" / "0" / "00004.png"
    shutil.copy(mask, mask.with_name("00004_new.png"))
    return "expressions.jsonl:1", "00004_new.png: video 'clip1' has no such frame"


def test_problems_of_images_name_the_line(tmp_path):
    folder = good_data(tmp_path)
    for spoil in (shrink_frame, spoil_frame, spoil_mask):
        file, words = spoil(folder)
        problem = next(problem for problem in check_own_data(folder).errors if problem.file == file)
        assert problem.line is None and re.search(words, problem.message)
        assert problem.message.endswith("(expressions.jsonl:1)")


def no_frames(folder):
    for file in (folder / "videos" / "clip1").iterdir():
        file.rename(file.with_suffix(".txt"))
    return "expressions.jsonl:1", "videos/clip1 has no frames"


def two_files_of_one_name(folder):
    (folder / "videos" / "clip2.mov").touch()
    return "expressions.jsonl:4", "clip2.mov and clip2.mp4 both fit"


def two_frames_of_one_name(folder):
    Image.fromarray(CLIP.frames[0]).save(folder / "videos" / "clip1" / "00000.jpg")
    return "expressions.jsonl:1", "two files have the name 00000"


def broken_video(folder):
    (folder / "videos" / "clip2.mp4").write_bytes(b"no video")
    return "expressions.jsonl:4", "clip2.mp4: cannot be opened as a video"


def pipe_in_place_of_a_frame(folder):
    (folder / "videos" / "clip1" / "00002.png").unlink()
    os.mkfifo(folder / "videos" / "clip1" / "00002.png")
    return "videos/clip1/00002.png", "cannot be read as an image"


def pipe_in_place_of_a_mask(folder):
    (folder / "masks" / "clip1" / "0" / "00004.png").unlink()
    os.mkfifo(folder / "masks" / "clip1" / "0" / "00004.png")
    return "masks/clip1/0/00004.png", "is a named pipe, not a mask"


def pipe_in_place_of_a_video(folder):
    (folder / "videos" / "clip2.mp4").unlink()
    os.mkfifo(folder / "videos" / "clip2.mp4")
    return "expressions.jsonl:4", "clip2.mp4: is a named pipe, not a video"


BROKEN_FILES = [
    pipe_in_place_of_a_frame,
    pipe_in_place_of_a_mask,
    pipe_in_place_of_a_video,
    spoil_frame,
    shrink_frame,
    shrink_mask,
    colour_mask,
    spoil_mask,
    stray_mask,
    no_frames,
    two_files_of_one_name,
    two_frames_of_one_name,
    broken_video,
]


@pytest.mark.parametrize("damage", BROKEN_FILES)
def test_broken_files_are_found(tmp_path, damage):
    folder = good_data(tmp_path / "own")
    place, words = damage(folder)
    report = check_own_data(folder)
    assert re.search(words, report.errors[0].message) and str(report.errors[0]).startswith(f"{place}: ")
    # masks of one folder are reported once, also where several lines point to it
    assert len(report.errors) == 1
    if damage in (spoil_frame, shrink_frame, pipe_in_place_of_a_frame):
        return  # frames are read in training: there they are errors with ids
    with pytest.raises(ValueError, match=words):
        load(folder, tmp_path)


def test_a_truncated_video_is_a_problem_also_in_json(tmp_path):
    folder = good_data(tmp_path)
    file = folder / "videos" / "clip2.mp4"
    write_video(file, np.random.default_rng(0).integers(0, 255, (20, 64, 64, 3), np.uint8))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    problems = check_own_data(folder).to_dict()["errors"]
    (found,) = [problem["message"] for problem in problems if problem["file"] == "videos/clip2.mp4"]
    assert re.match(r"only \d+ frames can be decoded \(.+\): copy or download it again .expressions.jsonl:4.$", found)


def test_the_list_of_problems_has_an_end(tmp_path):
    write_lines(good_data(tmp_path), ["x"] * 20_000)
    errors = check_own_data(tmp_path).errors
    assert len(errors) == 10_001
    assert "were not read" in errors[-1].message


def test_a_line_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr("glus_hf.data.own.expressions.MAX_LINE", 1000)
    folder = good_data(tmp_path)
    (folder / "expressions.jsonl").write_text("x" * 2000)
    with pytest.raises(ValueError, match="expressions.jsonl:1: more than 1 kB in a line"):
        check_own_data(folder)


def test_warnings(tmp_path):
    folder = good_data(tmp_path)
    write_frames(folder / "videos" / "park" / "unused")
    lines = (folder / "expressions.jsonl").read_text("utf-8").splitlines()
    never = [None] * 6
    more = [{"video": "clip1", "expression": "hidden", "masks": never}, {"video": "clip1", "expression": "the [SEG]"}]
    write_lines(folder, [*lines, *more])
    report = check_own_data(folder)
    assert report.errors == []
    assert [str(problem) for problem in report.warnings] == [
        "expressions.jsonl:6: 'masks': the target is in no frame",
        "expressions.jsonl:7: GLUS refuses expressions with [SEG]",
        "videos/park/unused: no expression is about this video",
    ]


def test_splits_are_checked_together(tmp_path):
    good_data(tmp_path / "train"), good_data(tmp_path / "valid")
    write_lines(tmp_path / "valid", ["x"])
    report = check_own_data(tmp_path)
    assert [(problem.file, problem.line) for problem in report.errors] == [("valid/expressions.jsonl", 1)]
    assert report.num_videos == 2


def test_empty_file_and_missing_folder(tmp_path):
    write_lines(tmp_path, [])
    assert "has no expressions" in check_own_data(tmp_path).errors[0].message
    with pytest.raises(ValueError, match="has no expressions"):
        load(tmp_path, tmp_path / "c")
    with pytest.raises(ValueError, match="no such folder"):
        check_own_data(tmp_path / "none")
    (tmp_path / "expressions.jsonl").unlink()
    with pytest.raises(ValueError, match="has no expressions.jsonl"):
        check_own_data(tmp_path)


def test_byte_order_mark(tmp_path):
    folder = good_data(tmp_path)
    file = folder / "expressions.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert check_own_data(folder).errors == []


def test_a_mask_that_is_a_link_to_nothing_is_broken_not_absent(tmp_path):
    good_data(tmp_path)
    (tmp_path / "masks" / "clip1" / "0" / "00002.png").symlink_to("on-a-disk-that-is-not-here")
    assert [str(error) for error in check_own_data(tmp_path).errors] == [
        "masks/clip1/0/00002.png: is a link to nothing: check the path (expressions.jsonl:1)"
    ]
    with pytest.raises(ValueError, match="00002.png: is a link to nothing"):
        load_referring_dataset("own", tmp_path, cache_dir=tmp_path / "cache")
