"""Two processes: every expression once, the same files as from one process; and what happens when one fails."""

import json
import os
import shutil

import pytest
import torch.distributed

from tests.evaluation.evaluation_data import tree
from tests.paths import ROOT
from tests.warm_ranks import run_ranks


pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")


def run(folder, mode, num_processes):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    command = ["-m", "tests.evaluation.evaluate_in_processes", str(folder), mode]
    return run_ranks(num_processes, command, cwd=ROOT, env=environment)


def done(output):
    """Ids by manifest."""
    lines = {path.name: path.read_text().splitlines() for path in output.glob(".glus_hf/rank-*.jsonl")}
    ids = {name: [json.loads(line) for line in listed] for name, listed in lines.items()}
    return {name: {(job["video_id"], job["expression_id"]) for job in listed} for name, listed in ids.items()}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    result = run(folder, "together", 1)
    assert result.returncode == 0, result.stderr
    return folder, json.loads(result.stdout.splitlines()[-1])


def test_two_processes_make_the_same_files(alone, tmp_path):
    result = run(tmp_path, "together", 2)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1]) == alone[1]
    assert tree(tmp_path / "together") == tree(alone[0] / "together")
    shares = done(tmp_path / "together")
    assert set(shares) == {"rank-00000.jsonl", "rank-00001.jsonl"} and all(shares.values())
    assert not shares["rank-00000.jsonl"] & shares["rank-00001.jsonl"]
    assert sum(len(share) for share in shares.values()) == len(alone[1]["records"])


@pytest.mark.slow
def test_one_process_finishes_what_two_began(alone, tmp_path):
    shutil.copytree(alone[0] / "together", tmp_path / "together")
    manifest = tmp_path / "together" / ".glus_hf" / "rank-00000.jsonl"
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.with_name("rank-00007.jsonl").write_text("".join(lines[3:9]))  # of a run with more processes
    manifest.unlink()
    result = run(tmp_path, "together", 2)
    assert result.returncode == 0, result.stderr
    assert tree(tmp_path / "together") == tree(alone[0] / "together")
    shares = done(tmp_path / "together").values()
    assert sum(len(share) for share in shares) == len(set().union(*shares)) == len(lines)


@pytest.mark.slow
def test_processes_without_a_common_folder(alone, tmp_path):
    result = run(tmp_path, "apart", 2)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1]) == alone[1]  # gathered, although each has only its own masks
    trees = [tree(tmp_path / f"apart-{rank}") for rank in range(2)]
    masks = [{name: files[name] for name in files if name.endswith(".png")} for files in trees]
    assert masks[0] and masks[1] and not set(masks[0]) & set(masks[1])
    whole = tree(alone[0] / "together")
    assert masks[0] | masks[1] == {name: whole[name] for name in whole if name.endswith(".png")}


@pytest.mark.slow
def test_failures_of_all_processes_are_gathered(alone, tmp_path):
    result = run(tmp_path, "broken", 2)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout.splitlines()[-1])
    assert report["counts"]["failed"] == 1 and "error" in report["records"][0]
    assert report["records"][2:] == alone[1]["records"][2:]


def test_a_dead_process_does_not_hold_up_the_others(tmp_path):
    result = run(tmp_path, "dies", 2)
    assert result.returncode != 0
    assert "Error: another process stopped" in result.stderr and "run the same command again" in result.stderr
