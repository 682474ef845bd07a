"""What a folder remembers: settings, finished expressions, and half-written lines."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest

from glus_hf.evaluation.runs.expression_result import ExpressionResult
from glus_hf.evaluation.runs.jobs import plan_jobs
from glus_hf.evaluation.runs.manifest import Manifest, finished, prepare_output, read_manifests
from glus_hf.predictions.prediction_tree import expression_folder, partial_folder, write_expression


ROWS = [
    {"dataset": "mevis", "video_id": "a/b", "expression_id": str(number), "expression": "x", "frames": ["0", "5"]}
    | {"height": 4, "width": 6}
    for number in range(3)
]
JOBS = plan_jobs(ROWS)
SETTINGS = {"model": {"name": "m", "digest": "1"}, "threshold": 0.0, "context_frames": (1, 2)}


def result(number):
    digest = JOBS[number].digest
    return ExpressionResult("a/b", str(number), digest, 2, "0", 0.5, [], 0.1, dataset="mevis")


def write(output, number):
    write_expression(output, ROWS[number], np.zeros((2, 4, 6), dtype=bool))


def test_lines_of_all_processes_are_read(tmp_path):
    for rank, numbers in ((0, [0, 2]), (11, [1])):
        with Manifest(tmp_path, rank) as manifest:
            for number in numbers:
                manifest.append(result(number))
    assert read_manifests(tmp_path) == {("a/b", str(number)): result(number) for number in range(3)}


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_line_cut_short_by_a_kill_is_forgotten(tmp_path, cut):
    with Manifest(tmp_path) as manifest:
        manifest.append(result(0))
        manifest.append(result(1))
    os.truncate(manifest.path, manifest.path.stat().st_size - cut)
    assert set(read_manifests(tmp_path)) == {("a/b", "0")}
    with Manifest(tmp_path) as manifest:
        manifest.append(result(2))
    assert set(read_manifests(tmp_path)) == {("a/b", "0"), ("a/b", "2")}


def test_a_broken_line_in_the_middle_is_an_error(tmp_path):
    with Manifest(tmp_path) as manifest:
        manifest.append(result(0))
    manifest.path.write_text("{broken\n" + manifest.path.read_text())
    with pytest.raises(ValueError, match="rank-00000.jsonl, line 1: is broken"):
        read_manifests(tmp_path)


@pytest.mark.parametrize("line", ["[" * 10**5, "7", "null", '{"video_id": "a"}', '{"video_id": [1]}'])
def test_a_line_of_something_else_is_an_error(tmp_path, line):
    with Manifest(tmp_path) as manifest:
        manifest.append(result(0))
    manifest.path.write_text(f"{manifest.path.read_text()}{line}\n")
    with pytest.raises(ValueError, match="rank-00000.jsonl, line 2: is broken; use --overwrite") as error:
        read_manifests(tmp_path)
    assert "\n" not in str(error.value)


def test_done_needs_the_line_and_every_frame(tmp_path):
    for number in range(3):
        write(tmp_path, number)
    with Manifest(tmp_path) as manifest:
        for number in range(2):
            manifest.append(result(number))
    assert set(finished(tmp_path, ROWS, JOBS)) == {("a/b", "0"), ("a/b", "1")}
    (tmp_path / "a/b/0/5.png").unlink()
    os.truncate(tmp_path / "a/b/1/0.png", 0)  # as after a power cut
    assert finished(tmp_path, ROWS, JOBS) == {}


def test_a_changed_expression_is_refused(tmp_path):
    write(tmp_path, 0)
    with Manifest(tmp_path) as manifest:
        manifest.append(replace(result(0), digest="another"))
    with pytest.raises(ValueError, match="video a/b, expression 0 had another text, frames or key frame.*--overwrite"):
        finished(tmp_path, ROWS, JOBS)


def test_equal_settings_go_on_and_leftovers_go(tmp_path):
    prepare_output(tmp_path, SETTINGS)
    (partial_folder(tmp_path) / "half").mkdir(parents=True)
    (partial_folder(tmp_path) / "half" / "0.png").touch()
    prepare_output(tmp_path, SETTINGS, [expression_folder(row) for row in ROWS])
    assert not partial_folder(tmp_path).exists()


@pytest.mark.parametrize(
    "change, words",
    [
        ({"threshold": 0.5}, r"another threshold \(0.0 then, 0.5 now\)"),
        ({"model": {"name": "m", "digest": "2"}}, "another model"),
        ({"context_frames": None}, "another context_frames"),
        ({"new": 1}, r"another new \(null then, 1 now\)"),
    ],
)
def test_other_settings_are_refused(tmp_path, change, words):
    prepare_output(tmp_path, SETTINGS)
    with Manifest(tmp_path) as manifest:
        manifest.append(result(0))
    with pytest.raises(ValueError, match=f"holds a run with {words}.*; use another --output or --overwrite"):
        prepare_output(tmp_path, SETTINGS | change)
    prepare_output(tmp_path, SETTINGS | change, overwrite=True)
    prepare_output(tmp_path, SETTINGS | change)


def test_a_run_that_finished_nothing_binds_nobody(tmp_path):
    folders = [expression_folder(row) for row in ROWS]
    prepare_output(tmp_path, SETTINGS | {"context_frames": "a typing error"}, folders)
    prepare_output(tmp_path, SETTINGS, folders)
    assert json.loads((tmp_path / ".glus_hf/settings.json").read_text())["context_frames"] == [1, 2]
    write(tmp_path, 0)  # killed before the line was written: the same settings go on, others do not
    prepare_output(tmp_path, SETTINGS, folders)
    with pytest.raises(ValueError, match="a/b/0: was not written by an evaluation"):
        prepare_output(tmp_path, SETTINGS | {"threshold": 1.0}, folders)


@pytest.mark.parametrize("content", ["", "[1]", "7", '{"threshold": ', "[" * 10**5])
def test_broken_settings_are_one_line(tmp_path, content):
    prepare_output(tmp_path, SETTINGS)
    (tmp_path / ".glus_hf/settings.json").write_text(content)
    with pytest.raises(ValueError, match="settings.json: is broken; use --overwrite or another --output") as error:
        prepare_output(tmp_path, SETTINGS)
    assert "\n" not in str(error.value)
    prepare_output(tmp_path, SETTINGS, overwrite=True)
    prepare_output(tmp_path, SETTINGS)


def test_predictions_of_others_are_not_overwritten(tmp_path):
    write(tmp_path, 1)
    folders = [expression_folder(row) for row in ROWS]
    with pytest.raises(ValueError, match="a/b/1: was not written by an evaluation"):
        prepare_output(tmp_path, SETTINGS, folders)
    prepare_output(tmp_path, SETTINGS, folders, overwrite=True)


def test_overwrite_removes_what_the_run_wrote_and_nothing_else(tmp_path):
    prepare_output(tmp_path, SETTINGS)
    write(tmp_path, 0)
    write(tmp_path, 1)
    outside = tmp_path.parent / "outside"
    outside.mkdir()
    with Manifest(tmp_path) as manifest:
        manifest.append(result(0))
        manifest.append(replace(result(1), video_id="../outside", expression_id="x"))
    for name in ("results.jsonl", "summary.json", "notes.txt"):
        (tmp_path / name).touch()
    prepare_output(tmp_path, SETTINGS | {"threshold": 1.0}, overwrite=True)
    assert outside.is_dir()
    assert (tmp_path / "notes.txt").exists() and not (tmp_path / "results.jsonl").exists()
    assert not (tmp_path / "a/b/0").exists() and (tmp_path / "a/b/1").exists()
    assert json.loads((tmp_path / ".glus_hf/settings.json").read_text())["threshold"] == 1.0
    assert read_manifests(tmp_path) == {}
