"""DAVIS' palette masks and binary masks, into own data: mask by mask."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from glus_hf.data.load_dataset import load_referring_dataset
from glus_hf.data.own.check import check_own_data
from glus_hf.data.own.mask_pngs import convert_davis, convert_png
from glus_hf.errors import UserError
from glus_hf.media.rle import decode_rle
from glus_hf.predictions.exports.formats import export_masks
from tests.predictions.exports.hard_masks import LABELS, apart_masks, overlapping_masks, video_of, write_video_folder


def rows_of(folder, cache):
    return list(load_referring_dataset("own", folder, cache_dir=cache))


def assert_same(rows, masks):
    for row, mask in zip(rows, masks, strict=True):
        found = np.stack([decode_rle(rle, mask.shape[1:]) for rle in row["masks"]])
        np.testing.assert_array_equal(found, mask)


@pytest.mark.parametrize("copy", [False, True])
def test_davis_there_and_back(tmp_path, copy):
    masks = apart_masks()
    (folder,) = export_masks(video_of(masks), "davis", tmp_path / "out")
    own = tmp_path / "own"
    counts = convert_davis(folder / "Annotations", folder / "JPEGImages", own, copy=copy)
    assert counts == {"videos": 1, "expressions": 4, "frames": 5}
    rows = rows_of(own, tmp_path / "cache")
    assert [row["expression"] for row in rows] == LABELS
    assert_same(rows, masks)
    assert check_own_data(own).errors == []
    assert (own / "videos/clips/one/00000.jpg").is_symlink() != copy


def test_png_there_and_back(tmp_path):
    masks = overlapping_masks()
    (folder,) = export_masks(video_of(masks), "png", tmp_path / "out")
    convert_png(folder / "masks", folder / "videos", tmp_path / "own")
    rows = rows_of(tmp_path / "own", tmp_path / "cache")
    assert [row["expression"] for row in rows] == LABELS
    assert_same(rows, masks)


def davis_tree(folder, values):
    """Masks and frames of the video `v`, the same ids in every frame."""
    write_video_folder(folder / "frames" / "v")
    (folder / "masks" / "v").mkdir(parents=True)
    for frame in range(5):
        image = Image.fromarray(values.astype(np.uint8))
        image.putpalette([value // 3 for value in range(768)])
        image.save(folder / "masks" / "v" / f"{frame:05d}.png")
    return folder / "masks", folder / "frames"


def test_ids_of_others(tmp_path):
    values = np.zeros((37, 53))
    values[:10], values[10:20], values[20:30] = 3, 7, 255  # 255 is void
    masks, frames = davis_tree(tmp_path, values)
    texts = tmp_path / "meta.json"
    texts.write_text(json.dumps({"videos": {"v": {"expressions": {"7": {"exp": "the band", "frames": []}}}}}))
    assert convert_davis(masks, frames, tmp_path / "own", texts)["expressions"] == 2
    rows = rows_of(tmp_path / "own", tmp_path / "cache")
    assert [row["expression"] for row in rows] == ["object 3", "the band"]
    assert_same(rows, np.stack([[values == 3] * 5, [values == 7] * 5]))


def test_a_text_for_no_object(tmp_path):
    """Python reads no number of thousands of digits; no mask can have it."""
    masks, frames = davis_tree(tmp_path, np.ones((37, 53)))
    (tmp_path / "expressions.json").write_text(json.dumps({"v": {"1": "the dog", "9" * 5000: "x", "300": "y"}}))
    assert convert_davis(masks, frames, tmp_path / "own")["expressions"] == 1


def test_objects_with_one_text_are_one_expression(tmp_path):
    values = np.zeros((37, 53))
    values[:10], values[10:20] = 1, 2
    masks, frames = davis_tree(tmp_path, values)
    (tmp_path / "expressions.json").write_text(json.dumps({"v": {"1": "the dogs", "2": "the dogs"}}))
    convert_davis(masks, frames, tmp_path / "own")
    (row,) = rows_of(tmp_path / "own", tmp_path / "cache")
    assert row["expression"] == "the dogs" and row["object_ids"] == ["1", "2"]


def test_names_of_folders_are_the_texts_of_binary_masks(tmp_path):
    write_video_folder(tmp_path / "frames" / "v")
    folder = tmp_path / "masks" / "v" / "the_red_car"
    folder.mkdir(parents=True)
    Image.fromarray(np.full((37, 53), 255, dtype=np.uint8)).save(folder / "00002.png")
    convert_png(tmp_path / "masks", tmp_path / "frames", tmp_path / "own")
    (row,) = rows_of(tmp_path / "own", tmp_path / "cache")
    assert row["expression"] == "the red car"
    assert [rle is None for rle in row["masks"]] == [True, True, False, True, True]


def remove_mask(folder):
    (folder / "masks/v/00003.png").unlink()


def add_mask(folder):
    os.rename(folder / "masks/v/00003.png", folder / "masks/v/00009.png")


def break_mask(folder):
    (folder / "masks/v/00003.png").write_bytes(b"no image")


def jpeg_for_a_mask(folder):
    Image.new("L", (53, 37), 1).save(folder / "masks/v/00003.png", "JPEG")


def resize_mask(folder):
    Image.new("L", (8, 8)).save(folder / "masks/v/00003.png")


def break_frame(folder):
    (folder / "frames/v/00003.png").write_bytes(b"no image")


def resize_frame(folder):
    Image.new("RGB", (8, 8)).save(folder / "frames/v/00003.png")


def name_that_is_no_text(folder):
    os.rename(folder / "masks/v", folder / "masks" / os.fsdecode(b"v\xff"))


def remove_frames(folder):
    os.rename(folder / "frames/v", folder / "frames/w")


def device_for_a_frame(folder):
    (folder / "frames/v/00003.png").unlink()
    (folder / "frames/v/00003.png").symlink_to("/dev/zero")


def empty_text(folder):
    (folder / "expressions.json").write_text('{"v": {"1": " "}}')


@pytest.mark.parametrize(
    "damage, words",
    [
        (remove_mask, "00003.png: video v: no such mask: keep only the frames that have a mask"),
        (add_mask, "00009.png: video 'v' has no such frame"),
        (break_mask, "00003.png: video v: cannot be read as an image"),
        (jpeg_for_a_mask, r"00003.png: video v: cannot be read as an image \(not a PNG\)"),
        (resize_mask, r"is \[8, 8\] \(height, width\), but the video is \[37, 53\]"),
        (break_frame, "00003.png: cannot be read as an image"),
        (resize_frame, r"00003.png: is \[8, 8\] \(height, width\), but the first frame is"),
        (name_that_is_no_text, "its name is not UTF-8; rename it"),
        (remove_frames, "frames/v: no such folder of frames, and no v.mp4 beside it"),
        (empty_text, "is not of the form"),
        (device_for_a_frame, "00003.png: is a device, not an image"),
    ],
)
def test_mistakes_leave_nothing_behind(tmp_path, damage, words):
    masks, frames = davis_tree(tmp_path, np.ones((37, 53)))
    damage(tmp_path)
    with pytest.raises(UserError, match=words) as error:
        convert_davis(masks, frames, tmp_path / "own")
    assert "\n" not in str(error.value) and not (tmp_path / "own").exists()


def test_folders_without_masks(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no folders with .png"):
        convert_davis(tmp_path / "empty", tmp_path, tmp_path / "own")
    with pytest.raises(UserError, match="no such folder of masks"):
        convert_png(tmp_path / "none", tmp_path, tmp_path / "own")
    masks, frames = davis_tree(tmp_path, np.ones((37, 53)))
    with pytest.raises(UserError, match="name the folder above"):
        convert_png(masks, frames, tmp_path / "own")
