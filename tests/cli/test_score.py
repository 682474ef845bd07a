"""`glus-hf score`, as a user runs it."""

import json
import shutil
import subprocess

import pytest
from typer.testing import CliRunner

from glus_hf.cli.main import app
from tests.paths import FIXTURES
from tests.warm_python import warm_python


DATASETS = FIXTURES / "datasets"
EXPECTED = json.loads((DATASETS / "expected_official.json").read_text())
REVOS = ("--dataset", "revos", "--data-dir", DATASETS / "ReVOS", "--split", "valid")
LONG_RVOS = ("--dataset", "long_rvos", "--data-dir", DATASETS / "long_rvos", "--split", "valid")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def run(*arguments):
    return CliRunner().invoke(app, ["score", *map(str, arguments)])


def test_json_is_the_last_line(tmp_path):
    records = tmp_path / "new" / "records.jsonl"
    result = run(*LONG_RVOS, "--predictions", DATASETS / "pred" / "long_rvos", "--json", "--output", records)
    assert result.exit_code == 0, result.output
    totals = json.loads(result.stdout.splitlines()[-1])
    overall = EXPECTED["long_rvos"]["overall"]
    assert {name: totals[name] for name in overall} == overall
    assert (totals["protocol"], totals["num_expressions"], totals["missing"]) == ("long_rvos", 3, 0)
    assert totals["by_type"]["static"]["num_expressions"] == 1
    lines = [json.loads(line) for line in records.read_text().splitlines()]
    assert [line["expression_id"] for line in lines] == ["0", "1", "2"]


def test_table_in_percent():
    result = run(*REVOS, "--predictions", DATASETS / "pred" / "revos", "--protocol", "revos_png255")
    assert result.exit_code == 0, result.output
    header, *rows = [line.split() for line in result.stdout.splitlines()]
    assert header == ["revos_png255", "expressions", "J", "F", "J&F", "A", "R"]
    assert [row[0] for row in rows] == ["referring", "reasoning", "nonexistent", "all"]
    assert rows[-1] == ["all", "2", "61.9", "55.2", "58.5", "93.4", "0.0"]
    assert "scoring" in result.stderr


def test_quiet_prints_nothing_but_json():
    arguments = (*REVOS, "--predictions", DATASETS / "pred" / "revos", "--quiet")
    result = run(*arguments)
    assert (result.exit_code, result.output) == (0, "")
    result = run(*arguments, "--json")
    assert json.loads(result.output)["R"] == EXPECTED["revos_png1"]["overall"]["R"]


def test_generated_data_needs_no_folder(tmp_path):
    from glus_hf import load_referring_dataset
    from glus_hf.media.rle import decode_rle
    from glus_hf.predictions.prediction_tree import write_expression

    for row in load_referring_dataset("motion_shapes", split="test", seed=3, num_videos=2):
        size = (row["height"], row["width"])
        write_expression(tmp_path / "tree", row, [decode_rle(mask, size) for mask in row["masks"]])
    options = ("--dataset", "motion_shapes", "--split", "test", "--seed", 3, "--num-videos", 2)
    result = run(*options, "--predictions", tmp_path / "tree", "--json", "--quiet")
    assert result.exit_code == 0, result.output
    totals = json.loads(result.output)
    assert totals["J&F"] == 1 and {"motion", "conjunction"} & set(totals["by_type"])


def test_missing_predictions(tmp_path):
    shutil.copytree(DATASETS / "pred" / "revos", tmp_path / "tree")
    (expression,) = (tmp_path / "tree").rglob("1/00003.png")
    expression.unlink()
    arguments = (*REVOS, "--predictions", tmp_path / "tree", "--quiet")
    result = run(*arguments, "--missing", "error")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1 and "1/00003.png" in result.stderr
    assert "to score an incomplete tree set missing to zero or skip" in result.stderr
    result = run(*arguments, "--json")
    warning = "Warning: missing masks: 1, in expressions: 1; they score 0\n"
    assert (result.exit_code, result.stderr) == (0, warning)
    totals = json.loads(result.stdout)
    assert (totals["J"], totals["missing"]) == (34.18, 1)  # the mean of 68.36 and 0


def test_missing_predictions_of_a_fused_protocol(tmp_path):
    shutil.copytree(DATASETS / "pred" / "davis17", tmp_path / "tree")
    (tmp_path / "tree" / "toy-seq" / "5" / "00003.png").unlink()
    arguments = ("--dataset", "ref_davis17", "--data-dir", DATASETS / "DAVIS17", "--split", "valid", "--quiet")
    arguments += ("--predictions", tmp_path / "tree", "--protocol", "ref_davis17_official", "--missing", "zero")
    result = run(*arguments)
    warning = "Warning: missing masks: 1, in expressions: 1; they are fused as empty masks\n"
    assert (result.exit_code, result.stderr) == (0, warning)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--protocol", "davis"], "protocol 'davis' is unknown"),
        (["--missing", "ignore"], "missing 'ignore' is unknown; use error, zero"),
        (["--predictions", "nowhere"], "nowhere: there is no such folder"),
        (["--split", "test"], "unknown split 'test'"),
        (["--dataset", "coco"], "unknown dataset 'coco'"),
        (["--protocol", "long_rvos", "--missing", "empty", "--data-option", "x"], "write NAME=VALUE"),
        (["--output", "/proc/none/records.jsonl"], "/proc/none/records.jsonl"),
        (["--output", "."], "is a folder; name a file"),
    ],
)
def test_wrong_arguments_give_one_line(change, words):
    result = run(*REVOS, "--predictions", DATASETS / "pred" / "revos", "--quiet", *change)
    assert result.exit_code == 2
    assert result.stdout == "" and result.stderr.count("\n") == 1 and words in result.stderr


def test_as_a_program_with_several_processes(tmp_path):
    mevis = ("--dataset", "mevis", "--data-dir", DATASETS / "mevis", "--split", "valid_u")
    command = [*warm_python(), "-m", "glus_hf.cli", "score", *mevis, "--num-workers", "2", "--json", "--quiet"]
    command += ["--predictions", DATASETS / "pred" / "mevis_valid_u"]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    totals = json.loads(result.stdout.splitlines()[-1])
    expected = EXPECTED["mevis_valid_u"]
    assert {name: totals[name] for name in ("J", "F", "J&F")} == {name: expected[name] for name in ("J", "F", "J&F")}


def test_a_file_of_the_dataset_is_not_overwritten(tmp_path):
    shutil.copytree(DATASETS / "ReVOS", tmp_path / "ReVOS")
    shutil.copytree(DATASETS / "pred" / "revos", tmp_path / "tree")
    arguments = ["--dataset", "revos", "--data-dir", tmp_path / "ReVOS", "--split", "valid", "--quiet"]
    arguments += ["--predictions", tmp_path / "tree", "--overwrite", "--output"]
    file = next(path for path in (tmp_path / "ReVOS").rglob("*.json"))
    before = file.read_bytes()
    for output, words in ((file, "ReVOS, which is read"), (tmp_path / "tree" / "new.jsonl", "tree, which is read")):
        result = run(*arguments, output)
        assert result.exit_code == 2 and words in result.stderr and result.stderr.count("\n") == 1
    assert file.read_bytes() == before and not (tmp_path / "tree" / "new.jsonl").exists()
    (tmp_path / "mine.json").write_text("mine")
    result = run(*arguments, tmp_path / "mine.json")
    assert result.exit_code == 2 and "mine.json: exists already and is not a run's" in result.stderr
    assert run(*arguments, tmp_path / "scores.jsonl").exit_code == 0
    assert run(*arguments, tmp_path / "scores.jsonl").exit_code == 0
    result = run(*[argument for argument in arguments if argument != "--overwrite"], tmp_path / "scores.jsonl")
    assert result.exit_code == 2 and "use --overwrite" in result.stderr
