"""Pseudo-labels: what they are, where they lie, the policies, and that runs resume to the same bytes."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from glus_hf.cli.main import app
from glus_hf.evaluation.evaluator import evaluate_model
from glus_hf.evaluation.options import EvaluationOptions
from glus_hf.media.rle import decode_rle
from glus_hf.training.samples.pseudo_labels import (
    EMPTY_POLICIES,
    LabelWriter,
    frame_label,
    label_file,
    make_pseudo_labels,
    read_labels,
    select_fraction,
)
from tests.evaluation.evaluation_data import shape_rows, tree
from tests.models.glus.small_glus import small_model, small_processor


@pytest.fixture(scope="module")
def models():
    return small_model(), small_processor()


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return list(shape_rows(tmp_path_factory.mktemp("cache"), num_videos=3))


@pytest.fixture(scope="module")
def labelled(models, rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    return folder, make_pseudo_labels(*models, rows, folder, split="test", empty="skip")


def test_labels_are_the_iou_of_an_evaluation(models, rows, labelled, tmp_path):
    from glus_hf.predictions.prediction_tree import read_prediction

    evaluate_model(*models, rows, tmp_path)
    for row in rows:
        labels = read_labels(labelled[0], row)
        for index, frame in enumerate(row["frames"]):
            truth = decode_rle(row["masks"][index], (row["height"], row["width"]))
            mask = read_prediction(tmp_path, row, frame)
            union = (mask | truth).sum()
            assert labels[index] == ((mask & truth).sum() / union if union else None)


def test_the_layout_and_the_report(rows, labelled):
    folder, report = labelled
    files = {name for name in tree(folder) if ".glus_hf" not in name}
    assert files == {f"motion_shapes/{row['video_id']}/{row['expression_id']}.json" for row in rows}
    every = [label for row in rows for label in json.loads(label_file(folder, row).read_text())]
    known = [label for label in every if label is not None]
    assert report.num_expressions == len(rows) and report.num_labels == len(known)
    assert report.num_skipped == len(every) - len(known)
    assert report.mean_label == pytest.approx(np.mean(known)) and not report.failures


@pytest.mark.parametrize("empty, value", [("1", 1.0), ("0", 0.0), ("skip", None)])
def test_policies(tmp_path, empty, value):
    nothing, something = np.zeros((2, 2), bool), np.eye(2, dtype=bool)
    policy = EMPTY_POLICIES[empty]
    assert policy == value and frame_label(nothing, nothing, policy) == value
    assert frame_label(something, nothing, policy) == frame_label(nothing, something, policy) == 0
    row = {"dataset": "d", "video_id": "v", "expression_id": "0", "frames": ["0", "1"], "height": 2, "width": 2}
    with LabelWriter(tmp_path / "d", {**row, "masks": [None, None]}, policy) as writer:
        writer.write(1, nothing)
        with pytest.raises(ValueError, match="1 of 2 frames have no mask"):
            writer.commit()
        writer.write(0, something)
        writer.commit()
    assert read_labels(tmp_path, row) == [0.0, value]


def test_an_interrupted_run_ends_the_same(models, rows, labelled, tmp_path):
    with pytest.raises(ValueError, match="expression"):  # the second half of the videos cannot be segmented
        broken = [row if number < 8 else {**row, "frame_paths": ["nowhere.png"]} for number, row in enumerate(rows)]
        make_pseudo_labels(*models, broken, tmp_path, split="test", empty="skip")
    first = tree(tmp_path)
    assert 0 < len([name for name in first if name.endswith(".json") and ".glus_hf" not in name]) < len(rows)
    report = make_pseudo_labels(*models, rows, tmp_path, split="test", empty="skip")
    labels = lambda folder: {name: data for name, data in tree(folder).items() if ".glus_hf" not in name}
    assert labels(tmp_path) == labels(labelled[0]) and report.mean_label == labelled[1].mean_label
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    make_pseudo_labels(*models, rows, tmp_path, split="test", empty="skip")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")} == before  # nothing is done twice


@pytest.mark.parametrize(
    "change, words",
    [
        ({"empty": "0"}, 'another empty ("skip" then, "0" now)'),
        ({"seed": 1}, "another seed (0 then, 1 now)"),
        ({"split": "train"}, "another split"),
        ({"options": EvaluationOptions(threshold=1.0)}, "another threshold"),
    ],
)
def test_other_settings_are_refused(models, rows, labelled, change, words):
    with pytest.raises(ValueError) as error:
        make_pseudo_labels(*models, rows, labelled[0], **{"split": "test", "empty": "skip", **change})
    assert words in str(error.value) and "\n" not in str(error.value)


def test_overwrite_removes_what_a_run_wrote_and_nothing_else(models, rows, tmp_path):
    make_pseudo_labels(*models, rows[:4], tmp_path)
    (tmp_path / "motion_shapes" / "mine.txt").write_text("kept")
    last = [row for row in rows if row["video_id"] == rows[-1]["video_id"]]
    make_pseudo_labels(*models, last, tmp_path, empty="0", overwrite=True)
    files = {name for name in tree(tmp_path) if ".glus_hf" not in name}
    assert files == {
        "motion_shapes/mine.txt",
        *(f"motion_shapes/{r['video_id']}/{r['expression_id']}.json" for r in last),
    }


def test_a_part_is_within_every_larger_part():
    rows = [{"video_id": f"v{number // 2}"} for number in range(40)]
    parts = [{row["video_id"] for row in select_fraction(rows, part, seed=3)} for part in (0.01, 0.25, 0.5, 1)]
    assert [len(part) for part in parts] == [1, 5, 10, 20]
    assert parts[0] < parts[1] < parts[2] < parts[3]
    assert select_fraction(rows, 0.5, seed=3) == select_fraction(rows, 0.5, seed=3) != select_fraction(rows, 0.5, 4)
    for part in (0, -1, 1.5):
        with pytest.raises(ValueError, match="fraction must be above 0"):
            select_fraction(rows, part)


@pytest.mark.parametrize(
    "content, words",
    [("", "cannot be read"), ("{}", "a dict labels"), ("[0.5]", "1 labels, the video has 2"), ("[1, 2]", "is 2"),
     ("[1, true]", "is True"), ("[1, NaN]", "is nan"), ("[" * 100_000, "cannot be read .*nested too deeply")],
)  # fmt: skip
def test_files_that_are_refused(tmp_path, content, words):
    row = {"dataset": "d", "video_id": "v", "expression_id": "0", "frames": ["0", "1"]}
    assert read_labels(tmp_path, row) is None
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "0.json").write_text(content)  # the original code's joint folder
    with pytest.raises(ValueError, match=words) as error:
        read_labels(tmp_path, row)
    assert "\n" not in str(error.value)


def test_rows_that_cannot_be_labelled(models, rows, tmp_path):
    with pytest.raises(ValueError, match="empty must be one of 1, 0, skip"):
        make_pseudo_labels(*models, rows, tmp_path, empty="2")
    with pytest.raises(ValueError, match="need a ground truth"):
        make_pseudo_labels(*models, [{**row, "masks": None} for row in rows], tmp_path)


def test_the_command(tmp_path, monkeypatch):
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    arguments = ["pseudo-label", "--dataset", "motion_shapes", "--split", "train", "--num-videos", "2", "--half"]
    arguments += ["--data-option", "size=48", "--data-option", "num_frames=4", "--device", "cpu", "--empty", "0"]
    arguments += ["--output", str(tmp_path / "labels"), "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout.splitlines()[-1])
    files = list((tmp_path / "labels" / "motion_shapes").glob("train_0_*/*.json"))
    assert report["num_expressions"] == len(files) > 0 and len({file.parent for file in files}) == 1
    assert all(len(json.loads(file.read_text())) == 4 for file in files)
    # --seed is that of generated data, as in glus-hf evaluate; --fraction-seed samples
    for seed in (["--seed", "3"], ["--data-option", "seed=3"]):  # the same run
        result = CliRunner().invoke(app, [*arguments, *seed, "--output", str(tmp_path / "other")])
        assert result.exit_code == 0, result.stderr
    assert {path.name[:8] for path in (tmp_path / "other" / "motion_shapes").glob("train_*")} == {"train_3_"}
    result = CliRunner().invoke(app, [*arguments, "--fraction-seed", "1"])
    assert result.exit_code == 2 and "another seed (0 then, 1 now)" in result.stderr
    result = CliRunner().invoke(app, [*arguments, "--fraction", "0.2"])
    assert result.exit_code == 2 and "--half is --fraction 0.5" in result.stderr
