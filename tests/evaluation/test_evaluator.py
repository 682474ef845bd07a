"""The evaluator on every miniature dataset, with a small random model."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from glus_hf.data.frames import read_frames
from glus_hf.evaluation.evaluator import evaluate_model
from glus_hf.evaluation.options import EvaluationOptions
from glus_hf.evaluation.scoring.protocols import default_protocol
from glus_hf.evaluation.scoring.score_predictions import score_predictions
from glus_hf.pipelines.factory import pipeline
from glus_hf.predictions.prediction_tree import expression_folder, read_prediction
from tests.evaluation.evaluation_data import load_rows, shape_rows, tree
from tests.models.glus.small_glus import small_model, small_processor


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def evaluate(model):
    def run(rows, output, **arguments):
        options = arguments.pop("options", EvaluationOptions(texts_per_pass=2))
        return evaluate_model(model, small_processor(), rows, output, options=options, **arguments)

    return run


@pytest.mark.parametrize("key", ["mevis", "mevis-v2", "ref_davis17", "revos", "reasonvos", "long_rvos"])
def test_trees_and_scores_of_every_dataset(evaluate, cache, tmp_path, key):
    rows = load_rows(key, cache)
    report = evaluate(rows, tmp_path / "preds")
    for row in rows:
        names = sorted(path.name for path in (tmp_path / "preds" / expression_folder(row)).iterdir())
        assert names == [f"{frame}.png" for frame in row["frames"]]
        with Image.open(tmp_path / "preds" / expression_folder(row) / names[0]) as image:
            assert image.mode == "L" and image.size == (row["width"], row["height"])
    # scored as they came, and all at once: the same
    protocol = default_protocol(rows[0]["dataset"], rows["expression_type"])
    expected = score_predictions(rows, tmp_path / "preds", protocol)
    assert report.totals == expected.totals and report.totals["missing"] == 0
    assert expected.totals.items() <= report.to_dict().items()  # as `glus-hf score --json` has them
    assert 0 < report.totals["J&F"] < report.totals["scale"]
    for record, row, scores in zip(report.records, rows, expected.records, strict=True):
        assert scores.items() <= record.items()
        assert (record["video_id"], record["expression_id"]) == (row["video_id"], row["expression_id"])
    lines = (tmp_path / "preds" / "results.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == report.records
    summary = json.loads((tmp_path / "preds" / "summary.json").read_text())
    assert summary["totals"] == report.totals and summary["num_expressions"] == len(rows)


@pytest.mark.parametrize("key", ["mevis-valid", "refer_youtube_vos"])
def test_splits_without_ground_truth_are_segmented_only(evaluate, cache, tmp_path, key):
    rows = load_rows(key, cache)
    report = evaluate(rows, tmp_path)
    assert report.totals is None and report.to_dict()["num_expressions"] == len(rows)
    assert all((tmp_path / expression_folder(row)).is_dir() for row in rows)
    assert "J" not in report.records[0] and 0 <= report.records[0]["mean_score"] <= 1
    with pytest.raises(ValueError, match="no ground truth"):
        evaluate(rows, tmp_path, protocol="mevis")


def test_a_protocol_of_whole_videos(evaluate, cache, tmp_path):
    rows = load_rows("ref_davis17", cache)
    report = evaluate(rows, tmp_path, protocol="ref_davis17_official")
    assert report.totals == score_predictions(rows, tmp_path, "ref_davis17_official").totals
    # the same predictions under another protocol: nothing is segmented again
    before = tree(tmp_path)
    other = evaluate(rows, tmp_path, protocol="ref_davis17")
    assert other.totals == score_predictions(rows, tmp_path, "ref_davis17").totals
    assert {name for name in before if before[name] != tree(tmp_path)[name]} == {"results.jsonl", "summary.json"}


@pytest.mark.parametrize("num_frames", [1, 2, 7])
def test_frame_names_are_right_for_every_key_frame(evaluate, model, cache, tmp_path, num_frames):
    rows = shape_rows(cache, num_videos=1, num_frames=num_frames)
    frames = read_frames(rows[0]["frame_paths"])
    pipe = pipeline(model=model, processor=small_processor())
    texts = rows["expression"][:2]
    for key_frame in range(num_frames):
        output = tmp_path / str(key_frame)
        evaluate(rows.select(range(2)), output, options=EvaluationOptions(key_frame=key_frame))
        expected = pipe(frames, texts, key_frame=key_frame, batch_size=8)
        for row, result in zip(rows, expected, strict=False):
            written = np.stack([read_prediction(output, row, frame) for frame in row["frames"]])
            np.testing.assert_array_equal(written, result["masks"])


def test_key_frames_by_name_and_expression(evaluate, cache, tmp_path):
    rows = load_rows("refer_youtube_vos", cache)  # frames 00000, 00005, ...
    video_id = rows[0]["video_id"]
    key_frames = {f"{video_id}_1": 15}
    report = evaluate(rows, tmp_path / "named", options=EvaluationOptions(key_frames=key_frames))
    assert [record["key_frame"] for record in report.records] == ["00000", "00015"]
    for number, key_frame in enumerate([None, 3]):
        evaluate(rows.select([number]), tmp_path / str(number), options=EvaluationOptions(key_frame=key_frame))
        for frame in rows[number]["frames"]:
            trees = [read_prediction(tmp_path / name, rows[number], frame) for name in ("named", str(number))]
            np.testing.assert_array_equal(*trees)


def test_missing_answers_are_counted(cache, tmp_path):
    silent, rows = small_model(), load_rows("mevis", cache)
    silent.lm_head.bias.data[silent.config.seg_token_id] = -10
    report = evaluate_model(silent, small_processor(), rows, tmp_path)
    assert report.counts["expressions_missing_seg"] == 3 and report.counts["missing_seg_frames"] == 15
    assert report.records[0]["missing_seg_frames"] == rows[0]["frames"] and report.records[0]["mean_score"] == 0
    assert report.totals["J"] < 0.2  # all masks are empty


# --- resuming ------------------------------------------------------------------------------------------------------


def segmented(output):
    """Ids of all expressions in the manifests, with repetitions."""
    lines = [line for path in output.glob(".glus_hf/rank-*.jsonl") for line in path.read_text().splitlines()]
    return sorted((json.loads(line)["video_id"], json.loads(line)["expression_id"]) for line in lines)


def test_a_finished_run_does_nothing_again(evaluate, cache, tmp_path):
    rows = shape_rows(cache)
    first = evaluate(rows, tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    assert evaluate(rows, tmp_path) == first
    assert stamps == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    assert segmented(tmp_path) == sorted(zip(rows["video_id"], rows["expression_id"], strict=True))


@pytest.mark.parametrize("damage", ["line", "frame", "folder", "half a line", "everything"])
def test_what_was_lost_is_done_again_and_equal(evaluate, cache, tmp_path, damage):
    rows = shape_rows(cache)
    evaluate(rows, tmp_path)
    before = tree(tmp_path)
    manifest = tmp_path / ".glus_hf" / "rank-00000.jsonl"
    victim = tmp_path / expression_folder(rows[1])  # in the middle of a group
    if damage == "line":
        manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:-1]))
    elif damage == "half a line":
        os.truncate(manifest, manifest.stat().st_size - 20)
    elif damage == "frame":
        next(victim.iterdir()).unlink()
    elif damage == "folder":
        for path in victim.iterdir():
            path.unlink()
        victim.rmdir()
    else:
        manifest.unlink()
    evaluate(rows, tmp_path)
    assert tree(tmp_path) == before


def test_more_videos_join_a_run(evaluate, cache, tmp_path):
    evaluate(shape_rows(cache, num_videos=1), tmp_path / "grown")
    rows = shape_rows(cache)
    for name in ("grown", "at once"):
        evaluate(rows, tmp_path / name)
    assert tree(tmp_path / "grown") == tree(tmp_path / "at once")
    assert segmented(tmp_path / "grown") == segmented(tmp_path / "at once")


@pytest.mark.parametrize(
    "change, words",
    [
        ({"options": EvaluationOptions(texts_per_pass=2, threshold=0.5)}, "another threshold"),
        ({"options": EvaluationOptions(texts_per_pass=3)}, "another texts_per_pass"),
        ({"split": "other"}, "another split"),
        ({"data_options": {"seed": 1}}, "another data_options"),
        ({"options": EvaluationOptions(texts_per_pass=2, key_frame=1)}, "another key_frame"),
    ],
)
def test_other_settings_in_the_same_folder(evaluate, cache, tmp_path, change, words):
    rows = load_rows("mevis", cache)
    evaluate(rows, tmp_path)
    before = tree(tmp_path)
    with pytest.raises(ValueError, match=words) as error:
        evaluate(rows, tmp_path, **change)
    assert "--output" in str(error.value) and "--overwrite" in str(error.value)
    assert tree(tmp_path) == before
    evaluate(rows, tmp_path, overwrite=True, **change)


def test_other_weights_are_other_settings(model, evaluate, cache, tmp_path):
    rows = load_rows("mevis", cache)
    evaluate(rows, tmp_path)
    with pytest.raises(ValueError, match="another model"):
        evaluate_model(small_model(seed=1), small_processor(), rows, tmp_path)
    key_frames = EvaluationOptions(texts_per_pass=2, key_frames={f"{rows[0]['video_id']}_0": 1})
    with pytest.raises(ValueError, match="expression 0 had another text, frames or key frame"):
        evaluate(rows, tmp_path, options=key_frames)


def test_two_evaluations_in_one_folder(evaluate, cache, tmp_path):
    from filelock import FileLock

    (tmp_path / ".glus_hf").mkdir()
    rows = load_rows("mevis", cache)
    with FileLock(str(tmp_path / ".glus_hf" / "run.lock")):
        with pytest.raises(ValueError, match="another evaluation is writing here"):
            evaluate(rows, tmp_path)
    evaluate(rows, tmp_path)


def test_changed_ground_truth_is_scored_again(evaluate, cache, tmp_path):
    rows = list(load_rows("mevis", cache))
    first = evaluate(rows, tmp_path)
    rows[0] = {**rows[0], "masks": rows[2]["masks"]}
    second = evaluate(rows, tmp_path)
    assert second.records[0]["J"] != first.records[0]["J"] and second.records[1:] == first.records[1:]
    assert second.totals == score_predictions(rows, tmp_path, "mevis").totals


# --- errors --------------------------------------------------------------------------------------------------------


def broken_rows(cache, tmp_path):
    """One expression without words, and one video with an image that is none."""
    rows = list(shape_rows(cache))
    rows[1] = {**rows[1], "expression": "   "}
    (tmp_path / "bad.jpg").write_text("no image")
    bad = rows[-1]["video_id"]
    for index, row in enumerate(rows):
        if row["video_id"] == bad:
            rows[index] = {**row, "frame_paths": [*row["frame_paths"][:-1], str(tmp_path / "bad.jpg")]}
    lost = [(rows[1]["video_id"], rows[1]["expression_id"])]
    return rows, lost + [(row["video_id"], row["expression_id"]) for row in rows if row["video_id"] == bad]


def test_a_failure_names_its_expressions_and_keeps_what_is_done(evaluate, cache, tmp_path):
    rows, _ = broken_rows(cache, tmp_path)
    with pytest.raises(ValueError, match=f"video {rows[1]['video_id']}, expressions 0, 1: .*expression"):
        evaluate(rows, tmp_path / "preds")
    good = [row for row in rows if row["expression"].strip()]
    with pytest.raises(ValueError, match=f"video {rows[-1]['video_id']}, .*bad.jpg"):
        evaluate(good, tmp_path / "preds")
    done = segmented(tmp_path / "preds")
    assert done and rows[-1]["video_id"] not in {video_id for video_id, _ in done}


def test_skip_reports_failures_and_scores_them_zero(evaluate, cache, tmp_path):
    rows, lost = broken_rows(cache, tmp_path)
    options = EvaluationOptions(texts_per_pass=2, on_error="skip")
    report = evaluate(rows, tmp_path / "preds", options=options)
    failed = [record for record in report.records if "error" in record]
    assert sorted((record["video_id"], record["expression_id"]) for record in failed) == sorted(lost)
    assert report.counts["failed"] == len(lost) == report.totals["missing"]
    assert all(record["J"] == 0 and record["error"] for record in failed)
    assert report.totals == score_predictions(rows, tmp_path / "preds", "motion_shapes", missing="zero").totals
    # repaired, only the lost are done again
    repaired = list(shape_rows(cache))
    with pytest.raises(ValueError, match="had another text|comes twice"):
        evaluate([repaired[1], *repaired], tmp_path / "preds", options=options)
    report = evaluate(repaired, tmp_path / "preds", options=replace(options, on_error="raise"))
    assert report.counts["failed"] == 0
    assert segmented(tmp_path / "preds") == sorted((row["video_id"], row["expression_id"]) for row in repaired)


def test_frames_that_do_not_fit_the_data_set(evaluate, cache, tmp_path):
    rows = [{**row, "height": 50} for row in load_rows("mevis-valid", cache)]
    with pytest.raises(ValueError, match=r"00000.jpg: is .48, 64. .height, width., but the video is .50, 64."):
        evaluate(rows, tmp_path)


def test_nothing_to_evaluate(evaluate, cache, tmp_path):
    with pytest.raises(ValueError, match="there are no expressions"):
        evaluate([], tmp_path)
    with pytest.raises(ValueError, match="on_error must be one of"):
        EvaluationOptions(on_error="ignore")
    with pytest.raises(ValueError, match="threshold must be a finite number, got nan"):
        EvaluationOptions(threshold=float("nan"))
