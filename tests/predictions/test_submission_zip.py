"""Archives for servers: the layout of each, and every rule broken once."""

import zipfile

import datasets
import numpy as np
import pytest
from PIL import Image

from glus_hf.errors import SubmissionError
from glus_hf.predictions.prediction_tree import expression_folder, write_expression
from glus_hf.predictions.submission_zip import validate_submission, write_submission_zip


FRAMES = ["00000", "00005", "00010"]


def make_rows(dataset):
    videos = {"b_2": ["0", "10", "2"], "a/1": ["0"]}
    common = {"dataset": dataset, "frames": FRAMES, "height": 48, "width": 64, "object_ids": [], "source": None}
    return [
        {**common, "video_id": video_id, "expression_id": expression_id, "expression": "the cat"}
        for video_id, expressions in videos.items()
        for expression_id in expressions
    ]


@pytest.fixture
def tree(tmp_path):
    def make(dataset="mevis"):
        rows, rng = make_rows(dataset), np.random.default_rng(0)
        for row in rows:
            write_expression(tmp_path / "preds", row, rng.random((3, 48, 64)) > 0.5)
        return tmp_path / "preds", rows

    return make


TOP = "Annotations/"


@pytest.mark.parametrize(
    "dataset, top", [("mevis", ""), ("motion_shapes", ""), ("refer_youtube_vos", TOP), ("long_rvos", TOP)]
)
def test_layout_of_each_server(tree, tmp_path, dataset, top):
    root, rows = tree(dataset)
    assert validate_submission(root, rows, dataset, "valid") == []
    write_submission_zip(root, rows, dataset, "valid", tmp_path / "out" / "submission.zip")
    with zipfile.ZipFile(tmp_path / "out" / "submission.zip") as archive:
        assert archive.testzip() is None
        names = [f"{top}{row['video_id']}/{row['expression_id']}/{frame}.png" for row in rows for frame in FRAMES]
        assert archive.namelist() == sorted(names)  # nothing else: no folder on top, no hidden files
        for row in rows:
            for frame in FRAMES:
                name = f"{expression_folder(row)}/{frame}.png"
                assert archive.read(name) == (root / name).read_bytes()


def test_ref_davis17_is_one_indexed_tree_per_annotator(tmp_path):
    row = {"dataset": "ref_davis17", "video_id": "cat", "frames": FRAMES, "height": 48, "width": 64, "source": None}
    rows = [{**row, "expression_id": str(index), "object_ids": [str(1 + index // 4)]} for index in range(12)]
    masks = np.random.default_rng(0).random((12, 3, 48, 64)) > 0.5
    for row, mask in zip(rows, masks, strict=True):
        write_expression(tmp_path / "preds", row, mask)
    write_submission_zip(tmp_path / "preds", rows, "ref_davis17", "valid", tmp_path / "davis.zip")
    with zipfile.ZipFile(tmp_path / "davis.zip") as archive:
        assert archive.namelist() == [f"anno_{k}/cat/{frame}.png" for k in range(4) for frame in FRAMES]
        for name in archive.namelist():
            image = Image.open(archive.open(name))
            of_one = masks[int(name[5]) :: 4, FRAMES.index(name[-9:-4])]  # objects 1, 2, 3 of this annotator
            expected = np.where(of_one.any(0), 1 + of_one.argmax(0), 0)  # the lowest wins
            assert image.mode == "P" and (np.asarray(image) == expected).all()
            # DAVIS' colours of background and the first objects
            assert image.getpalette()[:12] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]
            assert image.getpalette()[3 * 255 :] == [224, 224, 192]
    with pytest.raises(ValueError, match="cat: every object needs equally many expressions"):
        write_submission_zip(tmp_path / "preds", rows[:-1], "ref_davis17", "valid", tmp_path / "other.zip")
    assert not (tmp_path / "other.zip").exists()


def test_rows_may_be_a_dataset(tree, tmp_path):
    root, rows = tree()
    rows = datasets.Dataset.from_list(rows, features=None)
    assert validate_submission(root, rows, "mevis", "valid") == []
    write_submission_zip(root, rows, "mevis", "valid", tmp_path / "submission.zip")


def test_equal_trees_give_equal_archives(tree, tmp_path):
    root, rows = tree()
    (root / "notes.txt").write_text("not part of it")
    write_submission_zip(root, rows, "mevis", "valid", tmp_path / "1.zip")
    for path in root.rglob("*.png"):
        path.touch()
    write_submission_zip(root, rows[::-1], "mevis", "valid", tmp_path / "2.zip")
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()


def break_mode(path):
    Image.open(path).convert("RGB").save(path)


def break_palette(path):
    image = Image.open(path)
    image.putpalette([0] * 768)
    image.save(path)


def break_bits(path):
    Image.open(path).convert("1").save(path)


def break_values(path):
    Image.fromarray(np.asarray(Image.open(path)) // 255).save(path)


def break_size(path):
    Image.open(path).resize((32, 24)).save(path)


def break_bytes(path):
    path.write_bytes(path.read_bytes()[:100])


def break_format(path):
    Image.open(path).save(path, format="JPEG")


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda path: path.unlink(), "the file is missing"),
        (break_mode, "mode RGB, the server needs L"),
        (break_palette, "mode P, the server needs L"),
        (break_bits, "mode 1, the server needs L"),
        (break_values, "the value 1, masks have 0 and 255"),
        (break_size, "is [24, 32] (height, width), but the video is [48, 64]"),
        (break_bytes, "cannot be read"),
        (break_format, "cannot be read as an image (not a PNG)"),
    ],
)
def test_every_broken_rule_names_the_file(tree, tmp_path, damage, words):
    root, rows = tree()
    path = root / "b_2" / "10" / "00005.png"
    damage(path)
    problems = validate_submission(root, rows, "mevis", "valid")
    assert len(problems) == 1 and problems[0].startswith(f"{path}: ") and words in problems[0]
    assert "\n" not in problems[0]
    with pytest.raises(SubmissionError, match="1 problems, no archive was written"):
        write_submission_zip(root, rows, "mevis", "valid", tmp_path / "submission.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["preds"]


def test_all_problems_are_listed_and_the_message_is_capped(tree, tmp_path):
    root, rows = tree()
    for path in root.rglob("*.png"):
        path.unlink()
    more = [{**rows[0], "expression_id": str(index)} for index in range(100, 120)]
    with pytest.raises(SubmissionError) as error:
        write_submission_zip(root, rows + more, "mevis", "valid", tmp_path / "submission.zip")
    assert len(error.value.problems) == 3 * len(rows) + 20
    lines = str(error.value).splitlines()
    assert len(lines) == 22 and lines[-1] == f"... and {3 * len(rows)} more"


def test_what_has_no_server(tree, tmp_path):
    root, rows = tree("revos")
    with pytest.raises(ValueError, match="revos has no submission server"):
        validate_submission(root, rows, "revos", "valid")
    with pytest.raises(ValueError, match="is of dataset revos, not mevis"):
        write_submission_zip(root, rows, "mevis", "valid", tmp_path / "a.zip")
    with pytest.raises(ValueError, match="no expressions"):
        write_submission_zip(root, [], "mevis", "valid", tmp_path / "a.zip")
    with pytest.raises(ValueError, match="is a .zip file"):
        write_submission_zip(root, rows, "mevis", "valid", tmp_path / "a.tar")
