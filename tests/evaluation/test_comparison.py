"""Several models in one table: what is measured, what is written, and a model that fails."""

import json
import sys

import pytest
from typer.testing import CliRunner

from glus_hf import UserError
from glus_hf.cli.main import app
from glus_hf.evaluation.comparison import ComparedModel, run_folders, table_of, write_comparison
from tests.warm_python import warm_executable


SMALL = ["--dataset", "motion_shapes", "--split", "test", "--device", "cpu", "--num-videos", "1"]
SMALL += ["--data-option", "size=48", "--data-option", "num_frames=4"]


def compare(*arguments):
    result = CliRunner().invoke(app, ["compare", *SMALL, *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_a_model_that_fails_leaves_the_others(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", warm_executable(tmp_path))
    code, out, err = compare("--models", "glus-tiny,no-such-model", "-o", "first")
    assert code == 2 and err.splitlines()[-1].startswith("Error: 1 of 2 models failed; no-such-model: no-such-model:")
    good, bad = json.loads((tmp_path / "first" / "table.json").read_text())["models"]
    assert good["parameters"] == 2_383_354 and good["disk"] == 9_533_416 and good["licence"] == "apache-2.0"
    assert good["frames_per_second"] > 0 and 0 < good["totals"]["J&F"] <= 1 and good["error"] is None
    assert bad["totals"] is None and "no such folder" in bad["error"]
    table = (tmp_path / "first" / "table.md").read_text().splitlines()
    assert table[2].startswith("| glus-tiny | ") and table[3].startswith("| no-such-model | failed |")
    assert f"{100 * good['totals']['J&F']:.1f}" in out and "2.4 M" in out and "failed" in out and "table.md" in out


@pytest.mark.slow
def test_a_second_run_measures_nothing_anew(tmp_path, monkeypatch):
    """J&F, speed and memory are those of the first."""
    monkeypatch.chdir(tmp_path)
    code, out, _ = compare("--models", "glus-tiny", "-o", "first", "--json", "--quiet")
    (good,) = json.loads(out.splitlines()[-1])["models"]
    assert 2e8 < good["peak_memory"] < 5e9
    code, out, _ = compare("--models", "glus-tiny", "-o", "first")
    again = json.loads((tmp_path / "first" / "table.json").read_text())["models"][0]
    assert code == 0 and again["totals"] == good["totals"]
    assert again["frames_per_second"] == good["frames_per_second"] and again["peak_memory"] >= good["peak_memory"]


def test_the_table(tmp_path):
    totals = {"J&F": 0.5, "scale": 1, "by_type": {"static": {"J&F": 0.75}, "motion": {"J&F": 0.25}}}
    row = ComparedModel("a", totals, 12.34, 1_250_000_000, 2_400_000, 9_600_000, "mit", "looks alone")
    models = [row, ComparedModel("b", error="out of memory")]
    header, rows = table_of(models)
    assert dict(zip(header, rows[0], strict=True)) == {
        "model": "a",
        "J&F": "50.0",
        "static": "75.0",
        "motion": "25.0",
        "frames/s": "12.3",
        "peak memory": "1.25 GB",
        "parameters": "2.4 M",
        "disk": "9.6 MB",
        "licence": "mit",
    }
    content = write_comparison(models, {"split": "test"}, tmp_path / "t.md", tmp_path / "t.json")
    assert (tmp_path / "t.md").read_text().splitlines()[-2:] == ["a: looks alone", "b: out of memory"]
    assert json.loads((tmp_path / "t.json").read_text()) == content and content["split"] == "test"


@pytest.mark.parametrize("models", [["a", "a"], ["x/a", "y/a"], [""], ["a", " "]])
def test_models_that_cannot_be_told_apart(tmp_path, models):
    with pytest.raises(UserError, match="two of them have one name|name the models"):
        run_folders(models, tmp_path)


def test_folders_stay_below_the_output(tmp_path, monkeypatch):
    (tmp_path / "mine" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "mine" / "deep")
    folders = run_folders([".", "..", "a/../b/"], tmp_path / "out")
    assert [folder.relative_to(tmp_path / "out").as_posix() for folder in folders.values()] == ["deep", "mine", "b"]
    with pytest.raises(UserError, match="name the models"):
        run_folders(["/"], tmp_path)
