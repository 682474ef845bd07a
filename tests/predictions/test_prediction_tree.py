"""Trees of predictions: names, what is read and refused, and that folders appear at once."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from glus_hf.errors import MissingPrediction
from glus_hf.predictions.prediction_tree import (
    ExpressionWriter,
    check_places_apart,
    expression_folder,
    find_expression_folder,
    partial_folder,
    read_prediction,
    read_prediction_raw,
    write_expression,
)
from tests.paths import FIXTURES


PRED = FIXTURES / "datasets" / "pred"
FRAMES = ["00000", "00005", "00010"]


def make_row(dataset="mevis", video_id="0ab4_afe7", expression_id="0", frames=FRAMES, **more):
    ids = {"dataset": dataset, "video_id": video_id, "expression_id": expression_id}
    return {**ids, "frames": frames, "height": 48, "width": 64, "object_ids": ["1"], "source": None, **more}


def some_masks(count=3, seed=0):
    return np.random.default_rng(seed).random((count, 48, 64)) > 0.5


@pytest.mark.parametrize(
    "dataset, folder",
    [
        ("mevis", "v/a_b/7"),
        ("revos", "v/a_b/7"),
        ("ref_davis17", "v/a_b/7"),
        ("reasonvos", "v/a_b/7"),
        ("lvvis", "v/a_b/7"),
        ("motion_shapes", "v/a_b/7"),
        ("own", "v/a_b/7"),
        ("refer_youtube_vos", "Annotations/v/a_b/7"),
        ("long_rvos", "Annotations/v/a_b/7"),
    ],
)
def test_layout_of_each_dataset(dataset, folder):
    assert expression_folder(make_row(dataset, "v/a_b", "7")) == folder


@pytest.mark.parametrize("key", ["video_id", "expression_id"])
@pytest.mark.parametrize("name", ["", "..", "a/../../b", "/etc", "a//b", "./a", "a\\b", ".glus_hf/x", "a\0b"])
def test_ids_cannot_leave_the_tree(key, name):
    with pytest.raises(ValueError, match=key):
        expression_folder({**make_row(), key: name})


@given(mask=st.integers(0, 2**32), name=st.sampled_from(["mevis", "long_rvos"]))
@settings(max_examples=20, deadline=None)
def test_what_was_written_is_read(mask, name, tmp_path_factory):
    root, row, masks = tmp_path_factory.mktemp("tree"), make_row(name), some_masks(seed=mask)
    write_expression(root, row, iter(masks))
    for frame, mask in zip(FRAMES, masks, strict=True):
        np.testing.assert_array_equal(read_prediction(root, row, frame), mask)
        np.testing.assert_array_equal(read_prediction_raw(root, row, frame), mask * np.uint8(255))
        with Image.open(root / expression_folder(row) / f"{frame}.png") as image:
            assert image.mode == "L" and image.size == (64, 48)
    assert [path.name for path in root.iterdir()] == [expression_folder(row).split("/")[0]]  # no traces


@pytest.mark.parametrize(
    "name, row",
    [
        ("mevis_valid_u", make_row("mevis", "0ab4afe7fb46", "1")),
        ("revos", make_row("revos", "UVO/all/c791ddbb", "0")),
        ("davis17", make_row("ref_davis17", "toy-seq", "7")),
        ("reasonvos_glus", make_row("reasonvos", "toy", "1", source="MeViS")),
        ("long_rvos", make_row("long_rvos", "toy_long", "2")),  # without Annotations
    ],
)
def test_trees_of_other_projects_are_read(name, row):
    assert find_expression_folder(PRED / name, row).is_dir()
    mask = read_prediction(PRED / name, row, "00001")
    assert mask.shape == (48, 64) and mask.any() and not mask.all()
    with pytest.raises(MissingPrediction, match=f"{row['expression_id']}/00099.png"):
        read_prediction(PRED / name, row, "00099")


def test_names_of_videolisa_and_annotations_on_top(tmp_path):
    row = make_row("reasonvos", "a_b", "3", source="MeViS", object_ids=["2"])
    assert find_expression_folder(tmp_path, row) is None
    with pytest.raises(MissingPrediction, match="a_b/3"):
        read_prediction(tmp_path, row, "00000")
    for name in ("MeViS_a_b_2/3", "Annotations/a_b/3", "a_b/3"):  # each is preferred to the last
        (tmp_path / name).mkdir(parents=True)
        assert find_expression_folder(tmp_path, row) == tmp_path / name


def test_0_and_1_keep_their_bytes():
    row = make_row("revos", "UVO/all/c791ddbb", "0")
    assert set(np.unique(read_prediction_raw(PRED / "revos_val1", row, "00000"))) == {0, 1}
    same = [read_prediction(PRED / name, row, "00000") for name in ("revos", "revos_val1")]
    np.testing.assert_array_equal(*same)


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


@pytest.mark.parametrize("mode, values", [("L", {0, 255}), ("1", {0, 255}), ("P", {0, 75})])
def test_modes_that_are_read(tmp_path, mode, values):
    mask = some_masks(1)[0]
    image = Image.fromarray(mask * np.uint8(2 if mode == "P" else 255))
    image = image.convert("1") if mode == "1" else image
    if mode == "P":
        image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    save(tmp_path / "0ab4_afe7/0/00000.png", image)
    assert set(np.unique(read_prediction_raw(tmp_path, make_row(), "00000"))) == values
    np.testing.assert_array_equal(read_prediction(tmp_path, make_row(), "00000"), mask)


def test_colours_of_a_palette_count_not_their_order(tmp_path):
    mask = some_masks(1)[0]
    image = Image.fromarray((~mask).astype(np.uint8))
    image.putpalette([255, 255, 255, 0, 0, 0])  # white first, as programs that reduce colours may write it
    save(tmp_path / "0ab4_afe7/0/00000.png", image)
    np.testing.assert_array_equal(read_prediction_raw(tmp_path, make_row(), "00000"), mask * np.uint8(255))


def test_grey_levels_of_palettes_are_those_of_the_public_evaluators(tmp_path):
    cv2 = pytest.importorskip("cv2")
    image = Image.fromarray(np.arange(48 * 64, dtype=np.uint16).reshape(48, 64).astype(np.uint8))
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
    save(tmp_path / "0ab4_afe7/0/00000.png", image)
    expected = cv2.imread(str(tmp_path / "0ab4_afe7/0/00000.png"), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(read_prediction_raw(tmp_path, make_row(), "00000"), expected)


@pytest.mark.parametrize(
    "image, words",
    [
        (Image.new("RGB", (64, 48)), "mode RGB"),
        (Image.new("LA", (64, 48)), "mode LA"),
        (Image.new("I;16", (64, 48)), "mode I;16"),
        (Image.new("L", (48, 64)), r"is \[64, 48\] \(height, width\), but the video is \[48, 64\]"),
    ],
)
def test_other_images_are_refused(tmp_path, image, words):
    save(tmp_path / "0ab4_afe7/0/00000.png", image)
    with pytest.raises(ValueError, match=words) as error:
        read_prediction(tmp_path, make_row(), "00000")
    assert "0ab4_afe7/0/00000.png" in str(error.value) and not isinstance(error.value, MissingPrediction)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", None])
def test_files_that_cannot_be_read(tmp_path, content):
    path = tmp_path / "0ab4_afe7/0/00000.png"
    save(path, Image.fromarray(some_masks(1)[0] * np.uint8(255)))
    path.write_bytes(path.read_bytes()[:200] if content is None else content)  # None: cut short
    with pytest.raises(ValueError, match="00000.png: cannot be read") as error:
        read_prediction(tmp_path, make_row(), "00000")
    assert "\n" not in str(error.value)


def test_a_png_without_its_palette(tmp_path):
    path = tmp_path / "0ab4_afe7/0/00000.png"
    save(path, Image.fromarray(some_masks(1)[0] * np.uint8(1)).convert("P"))
    content = path.read_bytes()
    path.write_bytes(content[:33] + content[content.index(b"IDAT") - 4 :])  # 33 bytes: signature and header
    with pytest.raises(ValueError, match="00000.png: cannot be read .its palette is missing"):
        read_prediction(tmp_path, make_row(), "00000")


@pytest.mark.parametrize(
    "masks, words",
    [
        (some_masks(2), "1 frames have no mask, the first is 00010"),
        (some_masks(4), "more masks than the 3 frames"),
        (some_masks(3).astype(np.uint8), "uint8"),
        (np.zeros((3, 64, 48), dtype=bool), r"\[64, 48\]"),
    ],
)
def test_a_failed_write_leaves_the_tree_as_it_was(tmp_path, masks, words):
    before = some_masks(seed=7)
    write_expression(tmp_path, make_row(), before)
    with pytest.raises(ValueError, match=words):
        write_expression(tmp_path, make_row(), masks)
    for frame, mask in zip(FRAMES, before, strict=True):
        np.testing.assert_array_equal(read_prediction(tmp_path, make_row(), frame), mask)
    assert sorted(os.listdir(tmp_path)) == ["0ab4_afe7"]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    write_expression(tmp_path, make_row(frames=[*FRAMES, "00015"]), some_masks(4))
    write_expression(tmp_path, make_row(), some_masks())
    assert sorted(os.listdir(tmp_path / "0ab4_afe7/0")) == [f"{frame}.png" for frame in FRAMES]


def test_files_of_others_in_an_expressions_folder_are_kept(tmp_path):
    write_expression(tmp_path, make_row(), some_masks())
    (tmp_path / "0ab4_afe7/0/notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="0/notes.txt: is no mask of this expression"):
        write_expression(tmp_path, make_row(), some_masks())
    assert (tmp_path / "0ab4_afe7/0/notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (("park/0", "0"), "video park, expression 0 and video park/0, expression 0 would be written into each other"),
        (("park", "0"), "video park, expression 0 and video park, expression 0"),
        (("results.jsonl", "0"), "the result results.jsonl and video results.jsonl, expression 0"),
        (("a" * 250, "0"), "an id is longer than 200 bytes"),
    ],
)
def test_no_two_expressions_share_a_place(second, words):
    rows = [make_row(video_id=video, expression_id=name) for video, name in [("park", "0"), ("park", "1"), second]]
    for listed in (rows, rows[::-1]):
        with pytest.raises(ValueError, match=words if listed is rows else "would be written|is longer") as error:
            check_places_apart(listed)
        assert "\n" not in str(error.value)
    check_places_apart([make_row(video_id="park/0"), make_row(video_id="park", expression_id="00")])


def test_labels_share_no_place_either():
    file_of = lambda row: f"{expression_folder(row)}.json"
    check_places_apart([make_row(video_id="park"), make_row(video_id="park/0")], file_of)  # park/0.json, park/0/0.json
    with pytest.raises(ValueError, match="would be written into each other"):
        check_places_apart([make_row(video_id="park"), make_row(video_id="park/0.json")], file_of)


def test_frames_come_in_any_order_and_appear_together(tmp_path):
    masks = some_masks()
    with ExpressionWriter(tmp_path, make_row()) as writer:
        for index in (2, 0, 1):
            writer.write(index, masks[index])
            assert not (tmp_path / "0ab4_afe7").exists()
            assert len(list(partial_folder(tmp_path).iterdir())) == 1
        with pytest.raises(ValueError, match="no frame number 3"):
            writer.write(3, masks[0])
        writer.commit()
    for frame, mask in zip(FRAMES, masks, strict=True):
        np.testing.assert_array_equal(read_prediction(tmp_path, make_row(), frame), mask)


@pytest.mark.parametrize("frames", [["a", "a"], ["../x"], [""]])
def test_bad_frame_names(tmp_path, frames):
    with pytest.raises(ValueError, match="name"):
        write_expression(tmp_path, make_row(frames=frames), some_masks(len(frames)))
    assert not list(tmp_path.iterdir())
