"""Rows of objects of every miniature tree against what was drawn into it."""

import json

import numpy as np
import pytest

from glus_hf import UserError, load_object_dataset
from glus_hf.data.frames import read_frame
from glus_hf.data.objects.load_objects import available_object_datasets, object_names
from glus_hf.data.objects.object_schema import OBJECT_FEATURES
from glus_hf.media.rle import decode_rle
from tests.data.object_trees import MAKERS, TEXTS, corners, lvis, make_tree, mask, sa1b


PLAIN = {1: "hot dog", 2: "car"}
# per dataset and options: split, has masks, names by object, texts by object, numbers per image, has tracks
BOTH, LATER = [(1, 2), (1, 2)], [(1,), (1, 2)]
NOTHING = {1: None, 2: None}
ANY = {1: "object", 2: "object"}
SHORT = {number: texts[:1] for number, texts in TEXTS.items()}
NO_TEXTS = {1: [], 2: []}
STEPS = {"tao": 30}  # frames of a video between those that are annotated
EXPECTED = {
    ("coco",): ("train", True, PLAIN, NO_TEXTS, BOTH, False),
    ("lvis",): ("train", True, PLAIN, NO_TEXTS, BOTH, False),
    ("objects365",): ("train", False, PLAIN, NO_TEXTS, BOTH, False),
    ("openimages",): ("train", False, {1: "Hot dog", 2: "Car"}, NO_TEXTS, BOTH, False),
    ("bdd100k",): ("train", False, {1: "car", 2: "car"}, NO_TEXTS, BOTH, False),
    ("bdd100k", ("task", "ins_seg")): ("train", True, {1: "car", 2: "car"}, NO_TEXTS, BOTH, False),
    ("refcoco",): ("train", True, PLAIN, TEXTS, [(1, 2)], False),
    ("refcoco_plus",): ("train", True, PLAIN, TEXTS, [(1, 2)], False),
    ("refcocog",): ("train", True, PLAIN, TEXTS, [(1, 2)], False),
    ("visual_genome",): ("full", False, NOTHING, SHORT, BOTH, False),
    ("visual_genome", ("annotations", "objects")): ("full", False, PLAIN, NO_TEXTS, BOTH, False),
    ("sa1b",): ("train", True, ANY, NO_TEXTS, BOTH, False),
    ("grit",): ("train", False, NOTHING, {1: ["a hot dog", "a hot dog beside the box"], 2: ["the box"]}, BOTH, False),
    ("uvo",): ("train", True, ANY, NO_TEXTS, BOTH, False),
    ("uvo_dense",): ("train", True, ANY, NO_TEXTS, LATER, True),
    ("ytvis19",): ("train", True, PLAIN, NO_TEXTS, LATER, True),
    ("ytvis21",): ("train", True, PLAIN, NO_TEXTS, LATER, True),
    ("ovis",): ("train", True, PLAIN, NO_TEXTS, LATER, True),
    ("tao",): ("train", False, PLAIN, NO_TEXTS, LATER, True),
    ("burst",): ("train", True, PLAIN, NO_TEXTS, LATER, True),
    ("youtube_vos",): ("train", True, PLAIN, NO_TEXTS, BOTH, True),
}


def load(name, root, split, tmp_path, **options):
    return load_object_dataset(name, root, split, cache_dir=tmp_path / "cache", **options)


@pytest.mark.parametrize("name", ["sa1b", "grit"])
def test_shards_are_found_beside_other_datasets(name, tmp_path):
    """Whose folders hold JSON files, as shards that were unpacked do."""
    lvis(tmp_path / "lvis")
    make_tree(name, tmp_path)
    assert {row["dataset"] for row in load(name, tmp_path, "train", tmp_path)} == {name}


def test_every_dataset_has_a_tree():
    assert {name for name, *_ in EXPECTED} == set(MAKERS)
    others = {"coco_format", "motion_shapes", "refer_youtube_vos"}
    assert set(available_object_datasets()) == set(MAKERS) | others


@pytest.mark.parametrize("case", EXPECTED, ids=lambda case: "-".join(map(str, case)))
def test_rows_are_what_was_drawn(case, tmp_path):
    name, *options = case
    split, has_masks, names, texts, numbers, has_tracks = EXPECTED[case]
    root = make_tree(name, tmp_path)
    rows = load(name, root, split, tmp_path, **dict(options))
    assert rows.features == OBJECT_FEATURES
    assert [len(row["objects"]) for row in rows] == [len(each) for each in numbers]
    for time, (row, shown) in enumerate(zip(rows, numbers, strict=True)):
        assert (row["dataset"], row["height"], row["width"]) == (name, 48, 64)
        assert read_frame(row["image_path"]).shape == (48, 64, 3)
        assert (row["video_id"] is not None) == has_tracks
        assert row["frame_idx"] == (STEPS.get(name, 1) * time if has_tracks else None)
        for number, found in zip(shown, row["objects"], strict=True):
            np.testing.assert_allclose(found["box"], corners(number, time), atol=1e-4)
            assert (found["name"], found["descriptions"]) == (names[number], texts[number])
            assert (found["track_id"] is not None) == has_tracks
            if has_masks:
                np.testing.assert_array_equal(decode_rle(found["mask"], (48, 64)), mask(number, time))
            else:
                assert found["mask"] is None
    if has_tracks:
        assert rows[0]["objects"][0]["track_id"] == rows[1]["objects"][0]["track_id"]
    streamed = list(load(name, root, split, tmp_path, streaming=True, **dict(options)))
    assert streamed == list(rows)


def test_objects_of_refer_youtube_vos(tmp_path):
    root = make_tree("refer_youtube_vos", tmp_path)
    rows = load("refer_youtube_vos", root, "train", tmp_path)
    assert [(row["frame_idx"], len(row["objects"])) for row in rows] == [(time, 2) for time in range(5)]
    for time, row in enumerate(rows):
        for number, found in zip((1, 2), row["objects"], strict=True):
            assert found["box"] == corners(number, time) and found["track_id"] == str(number)
    assert rows[3]["objects"][0]["descriptions"] == ["a red disc moving right"]


def test_what_lvis_and_openimages_say_beside_boxes(tmp_path):
    row = load("lvis", make_tree("lvis", tmp_path), "train", tmp_path)[0]
    assert (row["absent_names"], row["incomplete_names"]) == (["zebra"], ["hot dog"])
    row = load("openimages", make_tree("openimages", tmp_path), "train", tmp_path)[0]
    assert [found["is_crowd"] for found in row["objects"]] == [False, True]


@pytest.mark.parametrize("name", ["tao", "burst"])
def test_what_tao_and_burst_say_of_a_video(name, tmp_path):
    rows = load(name, make_tree(name, tmp_path), "train", tmp_path)
    assert {(*row["absent_names"], *row["incomplete_names"]) for row in rows} == {("zebra", "hot dog")}
    assert len({row["video_id"] for row in rows}) == 1
    assert object_names(name, tmp_path / name, "train") == ["hot dog", "car", "zebra"]


def test_a_category_that_tao_counts_as_another_has_its_name(tmp_path):
    root = make_tree("tao", tmp_path)
    path = root / "annotations" / "train.json"
    content = json.loads(path.read_text())
    content["categories"][1]["merged"] = [{"id": 3}]
    path.write_text(json.dumps(content))
    rows = load("tao", root, "train", tmp_path)
    assert {each["name"] for row in rows for each in row["objects"]} == {"car"}
    assert object_names("tao", root, "train") == ["car", "zebra"]


def test_names_in_the_order_of_the_file(tmp_path):
    assert object_names("coco", make_tree("coco", tmp_path), "train") == ["hot dog", "car", "zebra"]
    assert object_names("openimages", make_tree("openimages", tmp_path), "train") == ["Hot dog", "Car"]
    assert object_names("sa1b", make_tree("sa1b", tmp_path), "train") == ["object"]
    assert object_names("youtube_vos", make_tree("youtube_vos", tmp_path), "train") == ["car", "hot dog"]
    assert object_names("visual_genome", make_tree("visual_genome", tmp_path), "full") == []


def test_splits_of_references_and_of_densecap(tmp_path):
    root = make_tree("refcoco", tmp_path)
    (row,) = load("refcoco", root, "val", tmp_path)
    assert (row["image_id"], [found["object_id"] for found in row["objects"]]) == ("101", ["11"])
    with pytest.raises(UserError, match="partition google has no split 'testA': use train, val, test"):
        load("refcoco", root, "testA", tmp_path, partition="google")
    root = make_tree("visual_genome", tmp_path)
    assert [row["image_id"] for row in load("visual_genome", root, "val", tmp_path)] == ["1"]


def test_parts_stay_where_they_are_wanted(tmp_path):
    root = make_tree("sa1b", tmp_path)
    assert [len(row["objects"]) for row in load("sa1b", root, "train", tmp_path, part_overlap=None)] == [4, 4]


def test_subsets_follow_from_the_seed_alone(tmp_path):
    sa1b(tmp_path / "many", shards=4)
    take = lambda **options: {row["image_id"] for row in load("sa1b", tmp_path / "many", "train", tmp_path, **options)}
    assert len(take()) == 8 and len(take(subset=3)) == 3 and take(subset=3) < take(subset=5)
    assert take(subset=5, num_proc=2) == take(subset=5, streaming=True) == take(subset=5)
    assert take(subset=3) != take(subset=3, seed=2) and len(take(subset=100)) == 8
    with pytest.raises(UserError, match="sa1b: subset must be a number of at least 1, got 0"):
        take(subset=0)


def test_a_split_without_ground_truth_has_no_objects(tmp_path):
    from tests.data.object_trees import put_image, put_json, video_content

    names = ["v/00000.jpg", "v/00005.jpg"]
    for name in names:
        put_image(tmp_path / "valid" / "JPEGImages" / name)
    put_json(tmp_path / "valid" / "instances.json", video_content(names, masks=False))
    assert [row["objects"] for row in load("ytvis21", tmp_path, "validation", tmp_path)] == [None, None]


def test_images_in_a_tar(tmp_path):
    import shutil
    import tarfile

    root = make_tree("coco", tmp_path)
    with tarfile.open(root / "train2017.tar", "w") as archive:
        archive.add(root / "train2017", "train2017")
    shutil.rmtree(root / "train2017")
    rows = load("coco", root, "train", tmp_path)
    assert rows[1]["image_path"] == f"tar://train2017/000000000001.jpg::{root}/train2017.tar"
    assert read_frame(rows[1]["image_path"]).shape == (48, 64, 3)


def test_any_file_in_the_format_of_coco(tmp_path):
    root = make_tree("coco", tmp_path)
    options = {"annotations": "annotations/instances_{split}2017.json", "images": "{split}2017", "agnostic": True}
    rows = load("coco_format", root, "train", tmp_path, **options)
    assert [[found["name"] for found in row["objects"]] for row in rows] == [["object"] * 2] * 2
