import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from glus_hf.media.mask_png import save_mask_png
from glus_hf.media.rle import decode_rle, encode_rle


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([0, 0.02, 0.5, 1]), st.integers(0, 100))
def test_rle_round_trip_through_json(height, width, density, seed):
    mask = np.random.default_rng(seed).random((height, width)) < density
    rle = json.loads(json.dumps(encode_rle(mask)))
    assert rle["size"] == [height, width]
    decoded = decode_rle(rle, (height, width))
    assert decoded.dtype == bool
    np.testing.assert_array_equal(decoded, mask)
    assert coco_mask.area({**rle, "counts": rle["counts"].encode()}) == mask.sum()


def test_large_mask_round_trip():
    mask = np.zeros((1080, 1921), dtype=bool)
    mask[100:1000, 300:1700] = True
    np.testing.assert_array_equal(decode_rle(encode_rle(mask), mask.shape), mask)


def test_absent_object_and_run_lists():
    assert decode_rle(None, (3, 5)).shape == (3, 5)
    assert not decode_rle(None, (3, 5)).any()
    mask = decode_rle({"size": [2, 3], "counts": [1, 2, 3]}, (2, 3))  # runs go down the columns
    np.testing.assert_array_equal(mask, [[False, True, False], [True, False, False]])


def test_bytes_counts_are_accepted():
    rle = encode_rle(np.eye(5, dtype=bool))
    np.testing.assert_array_equal(decode_rle({**rle, "counts": rle["counts"].encode()}, (5, 5)), np.eye(5, dtype=bool))


@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_sizes_of_rows_with_a_format(make):
    rle = encode_rle(np.eye(5, dtype=bool))  # Dataset.with_format("numpy") and "torch" turn lists into these
    np.testing.assert_array_equal(decode_rle({**rle, "size": make(rle["size"])}, (5, 5)), np.eye(5, dtype=bool))


@pytest.mark.parametrize(
    "rle",
    [
        {"size": [4, 4], "counts": ""},
        {"size": [4, 4], "counts": "52"},  # covers fewer pixels than the mask has
        {"size": [4, 4], "counts": "zzzzzzzz"},
        {"size": [4, 4], "counts": "99999999999999999999"},
        {"size": [4, 4], "counts": "o" * 40 + "0"},
        {"size": [4, 4], "counts": "é"},
        {"size": [4, 4], "counts": [1, 2]},
        {"size": [4, 4], "counts": [-1, 17]},
        {"size": [4, 4], "counts": 7},
        {"size": [4, 5], "counts": "0"},
        {"size": None, "counts": "0"},
        {"size": [None, 4], "counts": "0"},
        {"counts": "0"},
        "0",
    ],
)
def test_malformed_rle_gives_one_line(rle):
    with pytest.raises(ValueError, match="mask") as error:
        decode_rle(rle, (4, 4))
    assert "\n" not in str(error.value)


def test_mask_png_is_grey_0_255(tmp_path):
    mask = np.eye(7, 9, dtype=bool)
    save_mask_png(tmp_path / "new" / "00000.png", mask)
    image = Image.open(tmp_path / "new" / "00000.png")
    assert image.mode == "L"
    np.testing.assert_array_equal(np.asarray(image), mask * 255)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["00000.png"]


def test_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "00000.png"
    save_mask_png(path, np.ones((3, 3), dtype=bool))

    def interrupted(self, file, **options):
        open(file, "w").close()
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_mask_png(path, np.zeros((3, 3), dtype=bool))
    assert [file.name for file in tmp_path.iterdir()] == ["00000.png"]
    assert np.asarray(Image.open(path)).all()


@pytest.mark.parametrize("mask", [np.zeros((3, 3)), np.zeros((1, 3, 3), dtype=bool), np.zeros((0, 3), dtype=bool)])
def test_only_boolean_masks_are_encoded(mask, tmp_path):
    with pytest.raises(ValueError, match="boolean"):
        encode_rle(mask)
    with pytest.raises(ValueError, match="boolean"):
        save_mask_png(tmp_path / "mask.png", mask)
