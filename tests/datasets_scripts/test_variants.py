"""Layouts that differ between downloads, and options."""

import json
import pickle
import shutil
import tarfile

import numpy as np
import pytest
from PIL import Image

from glus_hf.data.frames import read_frames
from tests.data.dataset_trees import TREES, copy_tree, decode, load, union


def tar_frames(folder, prefix):
    """Replace `JPEGImages` by an uncompressed tar whose members start with `prefix`."""
    with tarfile.open(folder / "JPEGImages.tar", "w") as archive:
        archive.add(folder / "JPEGImages", prefix or ".")
    shutil.rmtree(folder / "JPEGImages")


@pytest.mark.parametrize("prefix", ["JPEGImages", "", "train/JPEGImages"])
@pytest.mark.parametrize(("name", "folder", "split"), [("mevis", "mevis", "train"), ("mevis", "mevis_v2", "valid")])
def test_frames_straight_from_the_tar(name, folder, split, prefix, tmp_path):
    root = copy_tree(folder, tmp_path)
    unpacked = load(name, root, split, tmp_path)
    expected = [read_frames(row["frame_paths"]) for row in unpacked]
    masks = unpacked["masks"]
    tar_frames(root / split, prefix)
    rows = load(name, root, split, tmp_path)
    tar = root / split / "JPEGImages.tar"
    assert all(path.startswith("tar://") and path.endswith(f"::{tar}") for path in rows[0]["frame_paths"])
    for row, frames in zip(rows, expected, strict=True):
        np.testing.assert_array_equal(read_frames(row["frame_paths"]), frames)
        assert (row["height"], row["width"]) == (48, 64)
    assert rows["masks"] == masks


def test_revos_frames_from_a_tar(tmp_path):
    root = copy_tree("ReVOS", tmp_path)
    tar_frames(root, "JPEGImages")
    row = load("revos", root, "valid", tmp_path)[0]
    assert read_frames(row["frame_paths"])[4].shape == (48, 64, 3)


def test_a_video_whose_name_ends_another_in_a_tar(tmp_path):
    root = copy_tree("ReVOS", tmp_path)
    file = root / "meta_expressions_valid_.json"
    content = json.loads(file.read_text())
    (first,) = content["videos"].values()
    content["videos"] = {"UVO/all/q": first, "all/q": first, "q": first}
    file.write_text(json.dumps(content))
    (root / "mask_dict_foreground.json").unlink()
    shutil.move(root / "JPEGImages" / "UVO" / "all" / "c791ddbb", root / "JPEGImages" / "UVO" / "all" / "q")
    for video_id, grey in (("UVO/all/q", 50), ("all/q", 100), ("q", 150)):
        (root / "JPEGImages" / video_id).mkdir(parents=True, exist_ok=True)
        for frame in first["frames"]:
            Image.new("L", (64, 48), grey).save(root / "JPEGImages" / video_id / f"{frame}.jpg")
    tar_frames(root, "./JPEGImages")
    rows = load("revos", root, "valid", tmp_path)
    found = {row["video_id"]: int(read_frames(row["frame_paths"][:1])[0].mean()) for row in rows}
    assert found == {"UVO/all/q": 50, "all/q": 100, "q": 150}


def test_mevis_versions_side_by_side(tmp_path):
    root = copy_tree("mevis", tmp_path)
    shutil.copy(TREES / "mevis_v2" / "train" / "meta_expressions_v2.json", root / "train")
    with pytest.raises(ValueError, match=r"v1 and v2 expressions: pass version='v1' or version='v2'"):
        load("mevis", root, "train", tmp_path)
    assert load("mevis", root, "train", tmp_path, version="v1").num_rows == 3
    assert load("mevis", root, "train", tmp_path, version="v2")["expression_type"] == [None, "no_target"]
    with pytest.raises(ValueError, match="mevis: unknown version 'v3': known are auto, v1, v2"):
        load("mevis", root, "train", tmp_path, version="v3")


@pytest.mark.parametrize("split", ["train", "valid_u", "valid"])
@pytest.mark.parametrize("file", ["meta_expressions_v2.json", "meta_expressions_v2_release.json"])
def test_every_file_name_of_v2_in_every_split(split, file, tmp_path):
    root = copy_tree("mevis_v2", tmp_path)
    (found,) = (root / split).glob("meta_expressions*.json")
    found.rename(root / split / file)
    assert load("mevis", root, split, tmp_path).num_rows == 2
    (root / split / file).rename(root / split / "meta_expressions.json")
    assert load("mevis", root, split, tmp_path).num_rows == 2
    assert load("mevis", root, split, tmp_path, version="v2").num_rows == 2


def test_the_version_chooses_among_folders(tmp_path):
    assert load("mevis", TREES, "valid_u", tmp_path).num_rows == 3
    assert load("mevis", TREES, "valid_u", tmp_path, version="v2").num_rows == 2


def test_videos_of_test_are_left_out_of_valid_only_if_their_file_is_there(tmp_path):
    root = copy_tree("Refer-YouTube-VOS", tmp_path)
    assert set(load("refer_youtube_vos", root, "valid", tmp_path)["video_id"]) == {"003234408d"}
    shutil.copytree(root / "valid/JPEGImages/003234408d", root / "valid/JPEGImages/0062f687f1")
    assert load("refer_youtube_vos", root, "test", tmp_path)["video_id"] == ["0062f687f1"]
    shutil.rmtree(root / "meta_expressions" / "test")
    assert set(load("refer_youtube_vos", root, "valid", tmp_path)["video_id"]) == {"003234408d", "0062f687f1"}


def test_both_ground_truths_of_davis_agree(tmp_path):
    root = copy_tree("DAVIS17", tmp_path)
    png = load("ref_davis17", root, "valid", tmp_path)
    pickled = load("ref_davis17", root, "valid", tmp_path, ground_truth="pickle")
    assert png["masks"] == pickled["masks"]
    assert pickled["annotation_ids"] == [[str(number)] for number in range(8)]
    shutil.rmtree(root / "valid" / "Annotations")
    assert load("ref_davis17", root, "valid", tmp_path)["masks"] == png["masks"]
    (root / "valid" / "mask_dict.pkl").unlink()
    with pytest.raises(ValueError, match=r"no ground truth: looked for .*Annotations, .*mask_dict\.pkl"):
        load("ref_davis17", root, "valid", tmp_path)


def test_pickled_masks_are_numbered_over_sorted_ids(tmp_path):
    # "10" sorts before "2", and the videos of the file are not in order
    root = copy_tree("DAVIS17", tmp_path)
    file = root / "meta_expressions" / "valid" / "meta_expressions.json"
    video = json.loads(file.read_text())["videos"]["toy-seq"]
    ids = ["0", "1", "2", "10"]
    video["expressions"] = {key: {"exp": key, "obj_id": "1"} for key in ids}
    first = {"expressions": {"0": {"exp": "first", "obj_id": "1"}}, "frames": video["frames"]}
    file.write_text(json.dumps({"videos": {"toy-seq": video, "a-seq": first}}))
    shutil.copytree(root / "valid/JPEGImages/toy-seq", root / "valid/JPEGImages/a-seq")
    size = {"size": [48, 64]}
    masks = {str(number): [{**size, "counts": [number, 1, 48 * 64 - number - 1]}] * 5 for number in range(5)}
    (root / "valid" / "mask_dict.pkl").write_bytes(pickle.dumps(masks))
    rows = load("ref_davis17", root, "valid", tmp_path, ground_truth="pickle")
    places = {row["expression"]: int(decode(row["masks"])[0].T.argmax()) for row in rows}
    assert places == {"first": 0, "0": 1, "1": 2, "10": 3, "2": 4}


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_bytes_in_pickles_of_any_protocol(protocol, tmp_path):
    root = copy_tree("DAVIS17", tmp_path)
    file = root / "valid" / "mask_dict.pkl"
    masks = pickle.loads(file.read_bytes())
    masks = {key: [{**rle, "counts": rle["counts"].encode()} for rle in track] for key, track in masks.items()}
    file.write_bytes(pickle.dumps(masks, protocol=protocol))
    row = load("ref_davis17", root, "valid", tmp_path, ground_truth="pickle")[7]
    np.testing.assert_array_equal(decode(row["masks"]), union(2))


def test_void_is_no_object(tmp_path):
    for row in load("ref_davis17", TREES / "DAVIS17", "valid", tmp_path):
        assert not (decode(row["masks"]) & union(3)).any()


def test_both_places_of_lvvis(tmp_path):
    root = copy_tree("LVVIS", tmp_path)
    expected = list(load("lvvis", root, "train", tmp_path))
    for file in ("mask_dict.json", "meta_expressions.json"):
        (root / file).rename(root / "train" / file)
    assert list(load("lvvis", root, "train", tmp_path)) == expected


def test_revos_without_underscore_and_without_foreground(tmp_path):
    root = copy_tree("ReVOS", tmp_path)
    (root / "meta_expressions_valid_.json").rename(root / "meta_expressions_valid.json")
    (root / "mask_dict_foreground.json").unlink()
    assert load("revos", root, "valid", tmp_path)["foreground"] == [None] * 3


def test_revos_with_the_foreground_of_valid_only(tmp_path):
    root = copy_tree("ReVOS", tmp_path)
    file = root / "mask_dict_foreground.json"
    file.write_text(json.dumps({"another/video": {"masks_rle": []}}))
    assert load("revos", root, "train", tmp_path)["foreground"] == [None] * 3


def test_reasonvos_tells_empty_from_not_annotated(tmp_path):
    from PIL import Image

    root = copy_tree("ReasonVOS", tmp_path)
    folder = root / "Annotations" / "MeViS_toy_1"
    (folder / "00001.png").unlink()
    Image.new("L", (64, 48)).save(folder / "00002.png")
    masks = load("reasonvos", root, "test", tmp_path)[0]["masks"]
    assert masks[1] is None
    assert masks[2] is not None and not decode(masks)[2].any()


def test_long_rvos_test_has_no_masks(tmp_path):
    root = copy_tree("long_rvos", tmp_path)
    (root / "valid").rename(root / "test")
    shutil.rmtree(root / "test" / "Annotations")
    assert load("long_rvos", root, "test", tmp_path)["masks"] == [None] * 3


def test_videos_without_any_mask_take_their_size_from_the_image(tmp_path):
    root = copy_tree("mevis", tmp_path)
    file = root / "train" / "mask_dict.json"
    file.write_text(json.dumps({key: [None] * 5 for key in json.loads(file.read_text())}))
    row = load("mevis", root, "train", tmp_path)[0]
    assert (row["height"], row["width"], row["masks"]) == (48, 64, [None] * 5)


def test_uncompressed_runs_are_compressed(tmp_path):
    root = copy_tree("mevis", tmp_path)
    file = root / "train" / "mask_dict.json"
    masks = json.loads(file.read_text())
    masks["17"] = [{"size": [48, 64], "counts": [48, 48, 48 * 62]}] * 5
    file.write_text(json.dumps(masks))
    mask = decode(load("mevis", root, "train", tmp_path)[0]["masks"])
    assert mask[:, :, 1].all() and mask.sum() == 5 * 48
