"""Rows of every miniature tree against what was drawn into it."""

import numpy as np
import pytest

from glus_hf.data.dataset_schema import FEATURES
from glus_hf.data.frames import read_frame, read_frames
from glus_hf.data.load_dataset import available_datasets
from tests.data.dataset_trees import HEIGHT, NUM_FRAMES, STEMS, TREES, WIDTH, decode, load, union


FIVES = [f"{5 * t:05d}" for t in range(NUM_FRAMES)]
DISC = "the disc moving right"
# (dataset, folder, split): per row video, expression id, text, type, objects drawn (None: no ground truth)
MEVIS = "0ab4afe7fb46"
MEVIS_V1 = [
    (MEVIS, "0", DISC, None, (1,)),
    (MEVIS, "1", "the two things moving toward each other.", None, (1, 2)),
    (MEVIS, "2", "the one that disappears", None, (3,)),
]
MEVIS_V2 = [(MEVIS, "0", DISC, None, (1,)), (MEVIS, "1", "the dog jumping over the fence", "no_target", ())]
REVOS_VIDEO = "UVO/all/c791ddbb"
REVOS = [
    (REVOS_VIDEO, "0", "the red disc", "referring", (1,)),
    (REVOS_VIDEO, "1", "Which object would roll away on a slope?", "reasoning", (1, 3)),
    (REVOS_VIDEO, "2", "the flying elephant", "nonexistent", ()),
]
DAVIS = [
    ("toy-seq", str(4 * (item - 1) + k), f"object {item} described by annot{who}", None, (item,))
    for item in (1, 2)
    for k, who in enumerate(("1 first", "1 full", "2 first", "2 full"))
]
YOUTUBE = [
    ("003234408d", "0", "a red disc moving right", None, (1,)),
    ("003234408d", "1", "a green box on the bottom", None, (2,)),
]
EXPECTED = {
    ("mevis", "mevis", "train"): MEVIS_V1,
    ("mevis", "mevis", "valid_u"): MEVIS_V1,
    ("mevis", "mevis", "valid"): [(*row[:4], None) for row in MEVIS_V1],
    ("mevis", "mevis_v2", "train"): MEVIS_V2,
    ("mevis", "mevis_v2", "valid_u"): MEVIS_V2,
    ("mevis", "mevis_v2", "valid"): [(*row[:3], None, None) for row in MEVIS_V2],
    ("refer_youtube_vos", "Refer-YouTube-VOS", "train"): YOUTUBE,
    ("refer_youtube_vos", "Refer-YouTube-VOS", "valid"): [(*row[:4], None) for row in YOUTUBE],
    ("ref_davis17", "DAVIS17", "train"): DAVIS,
    ("ref_davis17", "DAVIS17", "valid"): DAVIS,
    ("revos", "ReVOS", "train"): REVOS,
    ("revos", "ReVOS", "valid"): REVOS,
    ("reasonvos", "ReasonVOS", "test"): [
        ("toy", "0", "Which object is most likely to roll?", None, (1,)),
        ("toy", "1", "the container", None, (2,)),
    ],
    ("lvvis", "LVVIS", "train"): [("00000", "0", "ball", None, (1, 3)), ("00000", "1", "box", None, (2,))],
    ("long_rvos", "long_rvos", "valid"): [
        ("toy_long", "0", "a red disc", "static", (1,)),
        ("toy_long", "1", "the disc that vanishes", "dynamic", (3,)),
        ("toy_long", "2", "the green box sliding left", "hybrid", (2,)),
    ],
}
IDS = ["-".join(key) for key in EXPECTED]


@pytest.mark.parametrize(("name", "folder", "split"), EXPECTED, ids=IDS)
def test_rows(name, folder, split, tmp_path):
    rows = load(name, TREES / folder, split, tmp_path)
    assert rows.features == FEATURES
    expected = EXPECTED[name, folder, split]
    keys = ("video_id", "expression_id", "expression", "expression_type")
    assert [tuple(row[key] for key in keys) for row in rows] == [row[:4] for row in expected]
    for row, (*_, objects) in zip(rows, expected, strict=True):
        assert (row["dataset"], row["height"], row["width"]) == (name, HEIGHT, WIDTH)
        assert row["frames"] == (FIVES if name == "refer_youtube_vos" else STEMS)
        check_masks(row, objects)


def check_masks(row, objects):
    if objects is None:
        assert row["masks"] is None and row["object_masks"] is None
        return
    expected = union(*objects) if objects else np.zeros((NUM_FRAMES, HEIGHT, WIDTH), bool)
    np.testing.assert_array_equal(decode(row["masks"]), expected)
    assert [rle is None for rle in row["masks"]] == [not mask.any() for mask in expected]
    if len(objects) < 2:
        assert row["object_masks"] is None
        return
    for track, number in zip(row["object_masks"], objects, strict=True):
        np.testing.assert_array_equal(decode(track), union(number))


@pytest.mark.parametrize(("name", "folder", "split"), EXPECTED, ids=IDS)
def test_frames_can_be_read(name, folder, split, tmp_path):
    row = load(name, TREES / folder, split, tmp_path)[0]
    frames = read_frames(row["frame_paths"])
    assert len(frames) == len(row["frames"])
    for t, frame in enumerate(frames):
        assert frame.shape == (HEIGHT, WIDTH, 3) and frame.dtype == np.uint8
        assert frame[union(1)[t]].mean(axis=0)[0] > 190  # the disc is red in the JPEG too


@pytest.mark.parametrize(("name", "folder", "split"), EXPECTED, ids=IDS)
def test_streaming_gives_the_same_rows(name, folder, split, tmp_path):
    stream = load(name, TREES / folder, split, tmp_path, streaming=True)
    assert stream.features == FEATURES
    assert list(stream) == list(load(name, TREES / folder, split, tmp_path))


@pytest.mark.parametrize("name", sorted({key[0] for key in EXPECTED}))
def test_the_parent_folder_and_the_alias_work(name, tmp_path):
    folder, split = next((folder, split) for other, folder, split in EXPECTED if other == name)
    rows = load(name, TREES, split, tmp_path)
    assert list(rows) == list(load(name, TREES / folder, split, tmp_path))
    if (name, folder, "valid") in EXPECTED and name != "mevis":
        assert load(name, TREES, "validation", tmp_path).num_rows == len(EXPECTED[name, folder, "valid"])


def test_ids_of_objects_and_annotations(tmp_path):
    row = load("mevis", TREES / "mevis", "train", tmp_path)[1]
    assert (row["object_ids"], row["annotation_ids"]) == (["0", "1"], ["17", "18"])
    row = load("revos", TREES / "ReVOS", "valid", tmp_path)[1]
    assert (row["object_ids"], row["annotation_ids"]) == (["1", "3"], ["101", "103"])
    row = load("long_rvos", TREES / "long_rvos", "valid", tmp_path)[1]
    assert (row["object_ids"], row["annotation_ids"]) == (["3"], [])


def test_foreground_of_revos_and_source_of_reasonvos(tmp_path):
    for row in load("revos", TREES / "ReVOS", "valid", tmp_path):
        np.testing.assert_array_equal(decode(row["foreground"]), union(1, 3))
        assert row["source"] is None
    row = load("reasonvos", TREES / "ReasonVOS", "test", tmp_path)[0]
    assert (row["source"], row["foreground"]) == ("MeViS", None)


def test_motion_shapes_rows_are_the_generated_clips(tmp_path):
    from glus_hf.data.motion_shapes import generate_clip

    rows = load("motion_shapes", None, "test_held_out", tmp_path, num_videos=3, size=32, seed=5, num_frames=6)
    assert rows.features == FEATURES
    assert len(set(rows["video_id"])) == 3
    for row in rows:
        index = int(row["video_id"].removeprefix("test_held_out_5_"))
        clip = generate_clip(index, "test_held_out", seed=5, size=32, num_frames=6)
        expression = clip.expressions[int(row["expression_id"])]
        assert (row["expression"], row["expression_type"]) == (expression.text, expression.kind)
        for t, path in enumerate(row["frame_paths"]):
            np.testing.assert_array_equal(read_frame(path), clip.frames[t])
            area = 0 if row["masks"][t] is None else clip.target_masks(expression)[t].sum()
            assert area == clip.target_masks(expression)[t].sum()
    assert load("motion_shapes", None, "valid", tmp_path, num_videos=1, size=32)["video_id"][0] == "validation_0_00000"


def test_every_builder_is_known():
    assert {name for name, _, _ in EXPECTED} | {"motion_shapes", "own"} == set(available_datasets())
