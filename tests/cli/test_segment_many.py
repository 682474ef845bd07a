"""`glus-hf segment-many`: one process, two processes, and one-line errors."""

import json
import os
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
import torch.distributed
from typer.testing import CliRunner

from glus_hf.cli.main import app
from tests.evaluation.evaluation_data import tree
from tests.evaluation.many.many_videos import write_manifest


def run(*arguments):
    return CliRunner().invoke(app, ["segment-many", *map(str, arguments)])


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_manifest(tmp_path_factory.mktemp("many"), num_videos=2)


@pytest.fixture(scope="module")
def alone(manifest):
    output = manifest.parent / "alone"
    options = ["--table", manifest.parent / "table.parquet", "--device", "cpu", "--max-frames", 3, "--json", "-q"]
    result = run(manifest, "-o", output, *options)
    assert result.exit_code == 0, result.output
    return output, json.loads(result.output.splitlines()[-1])


def test_masks_results_and_table(manifest, alone):
    output, printed = alone
    assert printed["num_expressions"] == 6 and printed["num_frames"] == 18 and printed["failed"] == 0
    table = pq.read_table(printed["table"])
    assert table.num_rows == 6 and table["num_frames"].to_pylist() == [3] * 6
    names = sorted(str(path.relative_to(output)) for path in output.rglob("*.parquet"))
    assert names == [f"masks/clips/{video}/{text}.parquet" for video in range(2) for text in range(3)]
    settings = json.loads((output / "summary.json").read_text())["settings"]
    assert settings["max_frames"] == 3 and settings["model"]["name"] == "glus-tiny"


def test_again_is_quick_and_other_settings_are_refused(manifest, alone):
    before = tree(alone[0])
    again = run(manifest, "-o", alone[0], "--device", "cpu", "--max-frames", 3)
    assert again.exit_code == 0 and "6 of 6 expressions segmented, 18 masks" in again.output
    assert tree(alone[0]) == before
    other = run(manifest, "-o", alone[0], "--device", "cpu")
    assert other.exit_code == 2 and "holds a run with another max_frames" in other.output
    same = ["--device", "cpu", "--max-frames", 3]
    views = run(manifest, "-o", alone[0], *same, "--views", "device")
    assert views.exit_code == 2 and 'another views (null then, "device" now)' in views.output
    compiled = run(manifest, "-o", alone[0], *same, "--compile")
    assert compiled.exit_code == 2 and "another compile (null then, true now)" in compiled.output


ERRORS = {
    "--engine spark": "--engine spark is unknown; use local or ray",
    "--num-gpus 0.5": "--num-gpus goes with --engine ray",
    "--ray-address auto": "--ray-address goes with --engine ray",
    "--table {folder}/clips/x/../../videos.jsonl": "is the input itself",
    "--table out/all.parquet": "out/all.parquet: lies in out, which has files of its own",
    "--decode-limit memory=all": "write NAME=VALUE",
    "--views gpu": "--views gpu is unknown; use auto, pil, device",
}


@pytest.mark.parametrize("options", ERRORS)
def test_wrong_options_are_one_line(manifest, tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    words = options.format(folder=manifest.parent).split()
    result = run(manifest, "-o", "out", *words)
    text = f"{result.output}{result.exception}"  # typer's own are printed by `main`
    assert result.exit_code == 2 and ERRORS[options] in text
    assert len(result.output.splitlines()) <= 1 and not os.listdir(tmp_path)


def test_a_broken_manifest_is_one_line(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"video": "a.mp4"}\n')
    result = run(tmp_path / "m.jsonl", "-o", tmp_path / "out")
    assert result.exit_code == 2 and "m.jsonl, line 1: has neither 'expression' nor 'expressions'" in result.output
    assert not (tmp_path / "out").exists()


def test_a_run_that_segments_nothing_is_an_error(tmp_path):
    lines = [json.dumps({"video": "missing.mp4", "expression": text}) for text in ("the dog", "the cat")]
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    result = run(tmp_path / "m.jsonl", "-o", tmp_path / "out", "--device", "cpu", "--context-frames", "0,x", "-q")
    assert result.exit_code == 2 and "all 2 expressions failed; the first: " in result.output
    assert len((tmp_path / "out" / "results.jsonl").read_text().splitlines()) == 2


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")
def test_two_processes_write_the_bytes_of_one(manifest, alone, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]
    command += ["glus_hf.cli", "segment-many", str(manifest), "-o", str(tmp_path / "out"), "--device", "cpu"]
    command += ["--max-frames", "3", "-q", "--table", str(tmp_path / "table.parquet")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert result.returncode == 0, result.stderr
    assert tree(tmp_path / "out") == tree(alone[0])
    assert (tmp_path / "table.parquet").read_bytes() == (manifest.parent / "table.parquet").read_bytes()
    ranks = sorted(path.name for path in (tmp_path / "out" / ".glus_hf").glob("rank-*.jsonl"))
    assert ranks == ["rank-00000.jsonl", "rank-00001.jsonl"]
