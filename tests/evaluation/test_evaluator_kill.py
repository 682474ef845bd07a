"""SIGKILL at random points: what is left is resumed, and the end is that of an undisturbed run, bit for bit."""

import json
import os
import signal
import subprocess
import time

import pytest

from tests.evaluation.evaluation_data import shape_rows, tree
from tests.paths import ROOT
from tests.warm_python import warm_python


pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs fork and SIGKILL")


def environment(**more):
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), **more}


def done(output):
    """Ids in the manifests, with repetitions."""
    lines = [line for path in output.glob(".glus_hf/rank-*.jsonl") for line in path.read_text().splitlines()]
    return sorted((json.loads(line)["video_id"], json.loads(line)["expression_id"]) for line in lines)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_runs_end_like_an_undisturbed_one(tmp_path, seed):
    command = [*warm_python(), "-m", "tests.evaluation.evaluate_and_be_killed", str(tmp_path), str(seed)]
    result = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=500)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["kills"] >= 4
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    assert tree(killed) == tree(undisturbed)
    rows = shape_rows(tmp_path / "cache", num_videos=3)
    every_one = sorted(zip(rows["video_id"], rows["expression_id"], strict=True))
    assert done(killed) == done(undisturbed) == every_one  # nothing lost, nothing doubled
    assert len((killed / "results.jsonl").read_text().splitlines()) == len(every_one)
    assert not (killed / ".glus_hf" / "partial").exists()  # and nothing half-written left


@pytest.mark.slow
def test_the_command_is_killed_and_started_again(tmp_path):
    options = ["--dataset", "motion_shapes", "--split", "test", "--num-videos", "3", "--quiet", "--json"]
    options += ["--data-option", "size=96", "--data-option", "num_frames=10", "--device", "cpu"]
    command = [*warm_python(), "-m", "glus_hf.cli", "evaluate", *options, "--output"]
    env = environment(HF_DATASETS_CACHE=str(tmp_path / "cache"))
    full = subprocess.run([*command, "full"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert full.returncode == 0, full.stderr
    for wanted in (1, 8):
        process = subprocess.Popen([*command, "killed"], cwd=tmp_path, env=env, stdout=subprocess.PIPE)
        until = time.monotonic() + 200
        while len(done(tmp_path / "killed")) < wanted and process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert 8 <= len(done(tmp_path / "killed")) < len(done(tmp_path / "full"))
    last = subprocess.run([*command, "killed"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert last.returncode == 0, last.stderr
    results = [json.loads(run.stdout.splitlines()[-1]) for run in (full, last)]
    assert {**results[0], "output": ""} == {**results[1], "output": ""}
    assert tree(tmp_path / "killed") == tree(tmp_path / "full")
    assert done(tmp_path / "killed") == done(tmp_path / "full")
