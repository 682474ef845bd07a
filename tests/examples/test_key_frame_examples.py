"""The table of key frames and the calibration, on a few clips and random selectors."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.paths import EXAMPLES


sys.path.insert(0, str(EXAMPLES))

import calibrate_no_target  # noqa: E402
import key_frames_table  # noqa: E402
from tiny_selector import build_selector  # noqa: E402

import glus_hf  # noqa: E402
from glus_hf.data.motion_shapes import generate_clip  # noqa: E402
from glus_hf.inference.frame_selector import load_selector  # noqa: E402
from tests.warm_python import warm_python


def test_clips_that_count():
    found = [
        (clip.target_masks(expression).any((1, 2)), expression)
        for clip in (generate_clip(index, size=48) for index in range(30))
        for expression in key_frames_table.partial_expressions(clip)
    ]
    assert len(found) > 5
    assert all(there.any() and not (there[0] and there[-1]) for there, _ in found)


def test_a_target_behind_glass_is_not_shown():
    clip = generate_clip(0, split="reveal", size=48)
    times = np.linspace(0, 1, len(clip.frames))
    for expression in key_frames_table.partial_expressions(clip):
        shown = key_frames_table.shown_frames(clip, expression)
        assert shown.tolist() == (times >= clip.scene.veil[1]).tolist()
    assert len(key_frames_table.partial_expressions(clip)) == len(clip.expressions)


def test_true_ious_are_zero_where_nothing_is():
    masks = np.zeros((3, 2, 2), dtype=bool)
    masks[0], masks[2, 0, 0] = True, True
    truth = np.zeros((3, 2, 2), dtype=bool)
    truth[0, 0] = True
    assert key_frames_table.true_ious(masks, truth).tolist() == [0.5, 0, 0]


@pytest.mark.parametrize(("split", "videos"), [("test", 4), pytest.param("reveal", 1, marks=pytest.mark.slow)])
def test_the_table(split, videos):
    model, processor = build_selector()
    pipe = glus_hf.pipeline(model="glus-tiny", device="cpu")
    rows = [key_frames_table.measure(pipe, load_selector(model.eval(), processor), split, 0, videos, 48)]
    rows.append(key_frames_table.average(rows))
    assert rows[0]["expressions"] > 0 and rows[1]["J&F"] == rows[0]["J&F"]
    assert all(0 <= rows[0]["J&F"][start] <= 100 for start in key_frames_table.STARTS)
    lines = key_frames_table.show(rows).splitlines()
    assert len({line.count("|") for line in lines[:4]}) == 1 and lines[4] == "" and len(lines) == 10
    assert rows[0]["hits"]["oracle"] >= rows[0]["hits"]["first"]
    if split == "reveal":
        assert rows[0]["J&F"]["oracle"] > rows[0]["J&F"]["first"] + 20  # here the key frame matters
        assert rows[0]["empty"]["first"] is None and lines[-1].count("-") >= 4


def test_what_is_recovered():
    row = {"J&F": {"first": 40.0, "selector": 70.0, "oracle": 80.0}}
    assert key_frames_table.recovered(row) == pytest.approx(0.75)
    row["J&F"]["oracle"] = 40.5
    assert key_frames_table.recovered(row) is None


def test_a_table_without_expressions():
    row = key_frames_table.measure(None, None, "test", 0, 0, 48)
    lines = key_frames_table.show([row, key_frames_table.average([row])]).splitlines()
    assert lines[2] == "| 0 | 0 (0) | - | - | - | - | - | - |"


def test_a_selector_that_is_not_there(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["key_frames_table.py", "--selector", "no-such-selector"])
    with pytest.raises(SystemExit, match="^error: no-such-selector: no such folder"):
        key_frames_table.main()


def write_results(folder, confidences, has_target, **more):
    folder.mkdir()
    records = [
        {"confidence": value, "has_target": target, "answered": True, "no_target": False, **more}
        for value, target in zip(confidences, has_target, strict=True)
    ]
    (folder / "results.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def test_the_calibration(tmp_path):
    validation = write_results(tmp_path / "validation", [0.1, 0.3, 0.7, 0.8], [False, False, True, True])
    test = write_results(tmp_path / "test", [0.2, 0.6, 0.4, 0.9], [False, False, True, True])
    command = [*warm_python(), str(EXAMPLES / "calibrate_no_target.py"), str(validation), "--test", str(test)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["threshold"] == pytest.approx(0.5)
    assert found["validation"]["before"] == {"N-acc": 0, "T-acc": 1}
    assert found["validation"]["after"] == {"N-acc": 1, "T-acc": 1}
    assert found["test"]["after"] == {"N-acc": 0.5, "T-acc": 0.5}
    assert "| test | 4 | 0.0 | 100.0 | 50.0 | 50.0 |" in result.stdout


def test_results_that_cannot_be_calibrated(tmp_path):
    with pytest.raises(ValueError, match="run glus-hf evaluate first"):
        calibrate_no_target.read_results(tmp_path)
    judged = write_results(tmp_path / "judged", [0.1], [True])
    (judged / "results.jsonl").write_text(
        (judged / "results.jsonl").read_text().replace('"no_target": false', '"no_target": true')
    )
    with pytest.raises(ValueError, match="without --no-target-threshold"):
        calibrate_no_target.read_results(judged)
    (judged / "results.jsonl").write_text('{"J": 1}\n')
    with pytest.raises(ValueError, match="--selector and --protocol mevis_v2"):
        calibrate_no_target.read_results(judged)
