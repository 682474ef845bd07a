"""`glus-hf data`, as a user runs it."""

import json
import subprocess
import sys

from typer.testing import CliRunner

from glus_hf.cli.main import app
from tests.data.object_trees import make_tree
from tests.data.own.coco_files import youtube_vis
from tests.data.own.own_folders import good_data


def run(*arguments):
    return CliRunner().invoke(app, ["data", *map(str, arguments)])


def add_bad_line(folder):
    with open(folder / "expressions.jsonl", "a") as file:
        file.write('{"video": "clip9", "expression": "a"}\n')


def test_check_good_data(tmp_path):
    result = run("check", good_data(tmp_path))
    assert (result.exit_code, result.stdout) == (0, "OK: 2 videos, 5 expressions, 12 frames\n")


def test_check_lists_problems(tmp_path):
    add_bad_line(good_data(tmp_path))
    result = run("check", tmp_path)
    assert result.exit_code == 2
    first, last = result.stdout.splitlines()
    assert first.startswith("error: expressions.jsonl:6: video 'clip9': no folder videos/clip9")
    assert last == "Not usable: 1 error"


def test_check_counts_warnings(tmp_path):
    good_data(tmp_path)
    with open(tmp_path / "expressions.jsonl", "a") as file:
        file.write('{"video": "clip1", "expression": "the [SEG]"}\n')
    result = run("check", tmp_path)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "warning: expressions.jsonl:6: GLUS refuses expressions with [SEG]",
        "OK: 2 videos, 6 expressions, 12 frames (1 warning)",
    ]


def test_check_as_json(tmp_path):
    add_bad_line(good_data(tmp_path))
    result = run("check", tmp_path, "--json", "--quiet")
    assert result.exit_code == 2 and result.stderr == ""
    report = json.loads(result.stdout.splitlines()[-1])
    (error,) = report["errors"]
    assert (error["file"], error["line"], report["warnings"]) == ("expressions.jsonl", 6, [])
    assert [report[f"num_{name}"] for name in ("videos", "expressions", "frames")] == [2, 6, 12]


def test_check_without_data(tmp_path):
    result = run("check", tmp_path / "none")
    assert result.exit_code == 2 and result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1


def test_convert_coco_then_check(tmp_path):
    youtube_vis(tmp_path)
    options = ["--annotations", tmp_path / "instances.json", "--frames", tmp_path / "JPEGImages"]
    result = run("convert-coco", *options, "--output", tmp_path / "own")
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith("2 videos, 4 expressions; left out 1 video without annotations\n")
    assert run("check", tmp_path / "own").exit_code == 0
    again = run("convert-coco", *options, "--output", tmp_path / "own")
    assert again.exit_code == 2 and "exists already" in again.stderr
    copied = run("convert-coco", *options, "-o", tmp_path / "copied", "--copy", "--json", "-q")
    summary = json.loads(copied.stdout.splitlines()[-1])
    assert summary == {
        "output": str(tmp_path / "copied"),
        "videos": 2,
        "expressions": 4,
        "frames": 8,
        "empty_videos": 1,
    }


def test_commands_are_listed_without_heavy_imports():
    code = "import sys, glus_hf.cli.main; assert not {'torch', 'av', 'cv2', 'datasets'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert all(command in run("--help").stdout for command in ("check", "convert-coco"))


def test_check_a_dataset_of_objects(tmp_path):
    root = make_tree("coco", tmp_path)
    result = run("check", root, "--dataset", "coco", "--json", "-q")
    counts = json.loads(result.stdout)["counts"]
    assert result.exit_code == 0 and (counts["images"], counts["masks"], counts["names"]) == (2, 4, 2)
    assert run("check", root, "--dataset", "coco", "-q").stdout.splitlines()[-1] == "OK"
    (root / "train2017" / "000000000001.jpg").unlink()
    result = run("check", tmp_path, "--dataset", "coco", "-q")
    assert result.exit_code == 2 and result.stdout.splitlines()[-1] == "Not usable: 1 error"
    assert "000000000001.jpg: no such file" in " ".join(result.stdout.split())
    assert run("check", root, "--dataset", "coco", "--max-images", 1, "-q").exit_code == 0


def test_check_without_a_folder_is_one_line():
    result = run("check")
    assert result.exit_code == 2 and "DIR is missing" in result.stderr
