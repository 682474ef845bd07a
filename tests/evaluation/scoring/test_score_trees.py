"""Scoring trees made here: shared targets, several processes, incomplete and broken trees."""

import json
import os
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from glus_hf.errors import MissingPrediction
from glus_hf.evaluation.scoring.score_predictions import score_predictions, write_records
from glus_hf.media.rle import encode_rle
from tests.evaluation.scoring.small_trees import make_tree
from tests.paths import ROOT
from tests.warm_python import warm_python


def test_shared_targets_change_nothing(tmp_path):
    rows = make_tree(tmp_path)
    together = score_predictions(rows, tmp_path)
    alone = [score_predictions([row], tmp_path, "own").records[0] for row in rows]
    assert together.records == alone
    assert [record["expression_id"] for record in together.records] == [row["expression_id"] for row in rows]
    # rows that claim the same object but have other masks are not taken for the same
    rows[1]["masks"] = [None] * 3
    assert score_predictions(rows, tmp_path).records[0] == alone[0]
    assert score_predictions(rows, tmp_path).records[1] != alone[1]


def test_records_are_json_lines(tmp_path):
    rows = make_tree(tmp_path / "tree")
    report = score_predictions(rows, tmp_path / "tree")
    write_records(tmp_path / "records.jsonl", report.records)
    lines = (tmp_path / "records.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == report.records
    first = report.records[0]
    assert list(first) == [
        *("video_id", "expression_id", "expression", "expression_type", "num_frames"),
        *("J", "F", "J&F", "missing_frames"),
    ]
    assert first["J&F"] == (first["J"] + first["F"]) / 2


def test_predictions_may_be_a_function(tmp_path):
    rows = make_tree(tmp_path)

    def reader(row, frame):
        path = tmp_path / row["video_id"] / row["expression_id"] / f"{frame}.png"
        return np.asarray(Image.open(path)) > 0

    assert score_predictions(rows, reader) == score_predictions(rows, tmp_path)
    assert score_predictions(iter(rows), reader) == score_predictions(rows, tmp_path)
    with pytest.raises(ValueError, match=r"video v/0, expression 0, frame 00000: got float64"):
        score_predictions(rows, lambda row, frame: np.zeros((20, 70)))


def remove_frames(tmp_path, rows):
    """One frame of the first expression and the whole second one."""
    full = score_predictions(rows, tmp_path).records
    (tmp_path / "v/0/0/00010.png").unlink()
    shutil.rmtree(tmp_path / "v/0/1")
    return full


@pytest.mark.parametrize("num_workers", [1, 2])
def test_missing_is_an_error(tmp_path, num_workers):
    rows = make_tree(tmp_path)
    remove_frames(tmp_path, rows)
    with pytest.raises(MissingPrediction, match="v/0/0/00010.png.*expression 0") as error:
        score_predictions(rows[:1] + rows[3:], tmp_path, num_workers=num_workers)
    assert "\n" not in str(error.value)
    with pytest.raises(MissingPrediction, match="expression 1"):
        score_predictions(rows[1:], tmp_path, num_workers=num_workers)


def test_missing_is_zero(tmp_path):
    rows = make_tree(tmp_path)
    full = remove_frames(tmp_path, rows)
    report = score_predictions(rows, tmp_path, missing="zero")
    assert [(r["J"], r["F"], r["missing_frames"]) for r in report.records[:2]] == [(0, 0, 1), (0, 0, 3)]
    assert report.records[2:] == full[2:]
    totals = report.totals
    assert (totals["missing"], totals["missing_frames"], totals["missing_policy"]) == (2, 4, "zero")
    assert totals["num_expressions"] == 6
    assert totals["J"] == np.mean([0, 0, *(record["J"] for record in full[2:])])


def test_missing_is_skipped(tmp_path):
    rows = make_tree(tmp_path)
    full = remove_frames(tmp_path, rows)
    report = score_predictions(rows, tmp_path, missing="skip")
    assert [record["J"] for record in report.records[:2]] == [None, None]
    assert report.totals["J"] == np.mean([record["J"] for record in full[2:]])
    assert (report.totals["num_expressions"], report.totals["missing"]) == (4, 2)
    json.dumps(report.totals)
    with pytest.raises(ValueError, match="none of the 2 expressions has all its predicted masks"):
        score_predictions(rows[:2], tmp_path, missing="skip")


def test_missing_is_empty(tmp_path):
    rows = make_tree(tmp_path)
    remove_frames(tmp_path, rows)
    report = score_predictions(rows, tmp_path, "long_rvos")
    # the target is absent in the removed frame, so an empty mask is right there
    by_expression = {record["expression_id"]: record for record in report.records[:3]}
    assert by_expression["0"]["tIoU"] == 1 and by_expression["0"]["missing_frames"] == 1
    assert [by_expression["1"][name] for name in ("J", "F", "tIoU", "vIoU")] == [0, 0, 0, 0]
    assert report.totals["missing"] == 2


def test_an_incomplete_answer_is_never_right_about_no_target(tmp_path):
    rows = make_tree(tmp_path, num_videos=1)
    rows[0]["masks"] = [None] * 3
    for row in rows[:2]:
        shutil.rmtree(tmp_path / row["video_id"] / row["expression_id"])
    totals = score_predictions(rows, tmp_path, "mevis_v2", missing="zero").totals
    assert (totals["N-acc"], totals["T-acc"]) == (0, 0.5)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_broken_files_are_named(tmp_path, num_workers):
    rows = make_tree(tmp_path)
    path = tmp_path / "v/1/2/00005.png"
    good = path.read_bytes()
    cases = {
        r"is \[20, 30\] \(height, width\), but the video is \[20, 70\]": lambda: Image.new("L", (30, 20)).save(path),
        "mode RGB": lambda: Image.new("RGB", (70, 20)).save(path),
        "cannot be read": lambda: path.write_bytes(good[: len(good) // 2]),
        "not a PNG": lambda: path.write_bytes(b"nothing"),
    }
    for words, spoil in cases.items():
        spoil()
        with pytest.raises(ValueError, match=words) as error:
            score_predictions(rows, tmp_path, num_workers=num_workers)
        assert "v/1/2/00005.png" in str(error.value) and "\n" not in str(error.value)


def test_broken_rows_are_named(tmp_path):
    rows = make_tree(tmp_path)
    with pytest.raises(ValueError, match="video v/0, expression 1: two rows have these ids"):
        score_predictions([*rows, rows[1]], tmp_path)
    with pytest.raises(ValueError, match="no expression"):
        score_predictions([], tmp_path)
    with pytest.raises(ValueError, match="expression 0: this split has no masks"):
        score_predictions([rows[0] | {"masks": None}], tmp_path)
    wrong = [{"size": [20, 71], "counts": "1"}, None, None]
    with pytest.raises(ValueError, match=r"expression 0, frame 00000: the mask: is \[20, 71\]"):
        score_predictions([rows[0] | {"masks": wrong}], tmp_path)
    with pytest.raises(ValueError, match="R needs the foreground"):
        score_predictions(rows, tmp_path, "revos")
    with pytest.raises(ValueError, match="several datasets"):
        score_predictions([rows[0], rows[1] | {"dataset": "mevis"}], tmp_path)
    with pytest.raises(ValueError, match="no frame is annotated"):
        score_predictions([rows[0] | {"masks": [None] * 3}], tmp_path, "reasonvos")
    with pytest.raises(ValueError, match="no such folder"):
        score_predictions(rows, tmp_path / "nothing")
    with pytest.raises(ValueError, match="negative"):
        score_predictions(rows, tmp_path, num_workers=-1)


def test_only_annotated_frames_count_in_reasonvos(tmp_path):
    (row,) = make_tree(tmp_path, num_videos=1, num_expressions=1)
    (tmp_path / "v/0/0/00010.png").unlink()  # nobody asks for it
    report = score_predictions([row | {"dataset": "reasonvos", "source": "MOSE"}], tmp_path)
    assert (report.totals["missing"], report.records[0]["num_frames"]) == (0, 2)
    # an annotation PNG without a pixel is a run-length mask, not None
    empty = encode_rle(np.zeros((20, 70), dtype=bool))
    row = row | {"dataset": "reasonvos", "source": "MOSE", "masks": [*row["masks"][:2], empty]}
    assert score_predictions([row], tmp_path, missing="zero").totals["missing_frames"] == 1


def run_script(folder, code):
    """Run a program that scores with processes of its own."""
    path = folder / "script.py"
    path.write_text(
        "import os, signal, sys\n"
        "from glus_hf.evaluation.scoring.score_predictions import score_predictions\n"
        "from tests.evaluation.scoring.small_trees import make_rows\n" + code
    )
    root = ROOT
    environment = {"PYTHONPATH": f"{root}{os.pathsep}{root / 'src'}", "PATH": "/usr/bin:/bin"}
    return subprocess.run([*warm_python(), path], capture_output=True, text=True, env=environment)


def test_a_dead_process_is_reported(tmp_path):
    """A worker that is killed, as for lack of memory, ends the run with one line."""
    code = (
        "def kill(row, frame):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "if __name__ == '__main__':\n"
        "    try:\n"
        "        score_predictions(make_rows(), kill, num_workers=2)\n"
        "    except OSError as error:\n"
        "        print(error)\n"
    )
    result = run_script(tmp_path, code)
    assert "a scoring process died" in result.stdout, result.stderr


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_processes_do_not_hear_ctrl_c_while_they_start(tmp_path):
    code = (
        "if __name__ != '__main__':\n"  # imported by a worker
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "if __name__ == '__main__':\n"
        f"    score_predictions(make_rows(), {str(tmp_path)!r}, num_workers=2)\n"
    )
    make_tree(tmp_path)
    result = run_script(tmp_path, code)
    assert result.returncode == 0 and result.stderr == "", result.stderr
