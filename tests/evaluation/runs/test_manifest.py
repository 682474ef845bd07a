"""What a folder remembers: settings, finished expressions, and half-written lines."""

import json
import os
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from glus_hf.evaluation.runs.distributed import Processes
from glus_hf.evaluation.runs.expression_result import ExpressionResult
from glus_hf.evaluation.runs.jobs import plan_jobs
from glus_hf.evaluation.runs.manifest import Manifest, finished, prepare_output, read_manifests
from glus_hf.evaluation.runs.resumable_run import check_run_folder, prepare_run
from glus_hf.evaluation.runs.run_files import record_files, remove_replaced, write_result
from glus_hf.predictions.prediction_tree import (
    ExpressionWriter,
    expression_folder,
    partial_folder,
    tree_records,
    write_expression,
)


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
    """As a version without records of files did, or another program."""
    write_expression(output, ROWS[number], np.zeros((2, 4, 6), dtype=bool))


def write_recorded(output, number):
    """As a run does: files, then the line."""
    with ExpressionWriter(output, ROWS[number]) as writer:
        for index in range(2):
            writer.write(index, np.zeros((4, 6), dtype=bool))
        writer.commit(partial(record_files, output, 0))
    with Manifest(output) as manifest:
        manifest.append(result(number))


def old_run(output, *numbers):
    """A folder of the last version: settings, lines and results, and no records of files."""
    prepare_output(output, SETTINGS)
    for number in numbers:
        write_recorded(output, number)
    for name in ("results.jsonl", "summary.json"):
        (output / name).write_text("")
    for path in (output / ".glus_hf").glob("files-*.jsonl"):
        path.unlink()


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
    with pytest.raises(ValueError, match="a/b/0/0.png: was not written by an evaluation"):
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


@pytest.mark.parametrize("overwrite", [False, True])
def test_predictions_of_others_are_refused(tmp_path, overwrite):
    write(tmp_path, 1)
    with pytest.raises(ValueError, match="holds a, which was not written by an evaluation"):
        prepare_output(tmp_path, SETTINGS, [expression_folder(row) for row in ROWS], overwrite)
    assert (tmp_path / "a/b/1/5.png").is_file()


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a/b/0/notes.txt", "a/b/0/notes.txt: was not written"),
        ("results.jsonl", "results.jsonl: was not written"),
        ("a/b/1", "a/b/1: was not written"),
        ("a/b/2", "a/b/2: is a link, which is not followed"),
    ],
)
def test_files_of_others_in_our_places_are_refused(tmp_path, overwrite, name, words):
    output = tmp_path / "preds"
    prepare_output(output, SETTINGS)
    write_recorded(output, 0)
    (output / "a/b/0/5.png").unlink()  # is to be segmented again, in any case
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "mine.png").write_text("mine")
    if name == "a/b/2":
        (output / name).symlink_to(tmp_path / "outside")
    else:
        (output / name).write_text("mine")
    before = sorted(output.rglob("*"))
    with pytest.raises(ValueError, match=words):
        prepare_run(output, SETTINGS, ROWS, JOBS, Processes(cpu=True), overwrite=overwrite)
    assert sorted(output.rglob("*")) == before and (tmp_path / "outside" / "mine.png").read_text() == "mine"


def test_overwrite_puts_aside_what_the_run_wrote_and_nothing_else(tmp_path):
    prepare_output(tmp_path, SETTINGS)
    write_recorded(tmp_path, 0)
    outside = tmp_path.parent / "outside"
    outside.mkdir()
    write_result(tmp_path / "results.jsonl", "")
    record_files(tmp_path, 0, {"../outside/x": (0, "")})
    (outside / "x").touch()
    with Manifest(tmp_path) as manifest:
        manifest.append(replace(result(1), video_id="../outside", expression_id="x"))
    (tmp_path / "notes.txt").touch()
    prepare_output(tmp_path, SETTINGS | {"threshold": 1.0}, overwrite=True)
    assert (outside / "x").is_file()
    assert (tmp_path / "notes.txt").exists() and not (tmp_path / "results.jsonl").exists()
    assert not (tmp_path / "a").exists()
    assert json.loads((tmp_path / ".glus_hf/settings.json").read_text())["threshold"] == 1.0
    assert read_manifests(tmp_path) == {}
    kept = tmp_path / ".glus_hf/replaced/a/b/0/5.png"  # until the new run is complete, whatever happens to it
    write_recorded(tmp_path, 2)
    prepare_output(tmp_path, SETTINGS, overwrite=True)
    assert kept.is_file() and not (tmp_path / "a").exists()
    remove_replaced(tmp_path)
    assert not kept.exists() and (tmp_path / "notes.txt").exists()


def test_a_mask_that_was_changed_is_not_removed(tmp_path):
    prepare_output(tmp_path, SETTINGS)
    write_recorded(tmp_path, 0)
    content = (tmp_path / "a/b/0/5.png").read_bytes()
    (tmp_path / "a/b/0/5.png").write_bytes(content[:-1] + b"x")
    with pytest.raises(ValueError, match="a/b/0/5.png: was changed since it was written"):
        prepare_output(tmp_path, SETTINGS, overwrite=True)
    assert set(finished(tmp_path, ROWS, JOBS)) == {("a/b", "0")}
    assert (tmp_path / "a/b/0/0.png").is_file()


def test_sizes_tell_what_is_done_and_hashes_on_request(tmp_path):
    prepare_output(tmp_path, SETTINGS)
    for number in range(3):
        write_recorded(tmp_path, number)
    content = (tmp_path / "a/b/0/5.png").read_bytes()
    (tmp_path / "a/b/0/5.png").write_bytes(content[:-5])  # cut short
    (tmp_path / "a/b/1/5.png").write_bytes(content[:-1] + b"x")  # of equal size
    assert set(finished(tmp_path, ROWS, JOBS)) == {("a/b", "1"), ("a/b", "2")}
    assert set(finished(tmp_path, ROWS, JOBS, verify=True)) == {("a/b", "2")}


def test_a_folder_of_the_last_version_goes_on(tmp_path):
    old_run(tmp_path, 0, 1)
    (tmp_path / "a/b/1/5.png").unlink()
    write(tmp_path, 2)  # killed between folder and line
    _, done = prepare_run(tmp_path, SETTINGS, ROWS, JOBS, Processes(cpu=True))
    assert set(done) == {("a/b", "0")}
    write_recorded(tmp_path, 1)
    prepare_run(tmp_path, SETTINGS, ROWS, JOBS, Processes(cpu=True))
    write_result(tmp_path / "results.jsonl", "new")
    prepare_output(tmp_path, SETTINGS, overwrite=True)
    assert not (tmp_path / "a").exists() and not (tmp_path / "results.jsonl").exists()


def test_a_folder_of_the_last_version_is_replaced(tmp_path):
    old_run(tmp_path, 0)
    (tmp_path / "a/b/0/notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="a/b/0/notes.txt: was not written"):
        prepare_output(tmp_path, SETTINGS, overwrite=True)
    (tmp_path / "a/b/0/notes.txt").unlink()
    prepare_output(tmp_path, SETTINGS, overwrite=True)
    assert not (tmp_path / "a").exists() and not (tmp_path / "summary.json").exists()


def test_half_written_files_of_a_killed_run_are_removed(tmp_path):
    prepare_output(tmp_path, SETTINGS)
    names = [".results-01234567.jsonl", ".glus_hf/.settings-01234567.json", ".glus_hf/token-0123456789ab"]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / ".mine.jsonl").touch()
    prepare_output(tmp_path, SETTINGS)
    assert not any((tmp_path / name).exists() for name in names) and (tmp_path / ".mine.jsonl").exists()


def test_half_a_line_of_records_is_passed_over(tmp_path):
    record_files(tmp_path, 0, {"a": (1, "x")})
    with open(tmp_path / ".glus_hf/files-00000.jsonl", "a") as file:
        file.write('{"path": "b", "si')
    record_files(tmp_path, 0, {"c": (2, "y")})
    assert tree_records(tmp_path) == {"a": {(1, "x")}, "c": {(2, "y")}}


@pytest.mark.parametrize("place", ["video", "data", "frames"])
def test_a_run_keeps_away_from_what_it_reads(tmp_path, place):
    frames = tmp_path / "data" / "frames" / "video"
    frames.mkdir(parents=True)
    rows = [row | {"frame_paths": [str(frames / "0.png")]} for row in ROWS]
    output = {"video": frames / "preds", "data": tmp_path / "data", "frames": frames}[place]
    with pytest.raises(ValueError, match="which is read|is the input itself"):
        check_run_folder(output, rows)
    check_run_folder(tmp_path / "preds", rows)
