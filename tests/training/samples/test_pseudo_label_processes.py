"""Two processes make the same labels, key frames and masks as one, and each does a part."""

import json
import os
import subprocess
import sys

import pytest
import torch.distributed

from tests.evaluation.evaluation_data import tree
from tests.paths import ROOT


pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")


def run(folder, num_processes):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={num_processes}"]
    command += ["-m", "tests.training.label_in_processes", str(folder)]
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": path}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def done(folder):
    lines = [path.read_text().splitlines() for path in sorted(folder.glob(".glus_hf/rank-*.jsonl"))]
    return [{(job["video_id"], job["expression_id"]) for job in map(json.loads, listed)} for listed in lines]


@pytest.mark.slow
def test_two_processes_make_what_one_makes(tmp_path):
    alone, together = run(tmp_path / "one", 1), run(tmp_path / "two", 2)
    assert alone == together
    for name in ("labels", "preds"):
        files = [
            {path: data for path, data in tree(tmp_path / number / name).items() if ".glus_hf" not in path}
            for number in ("one", "two")
        ]
        assert files[0] == files[1] and files[0]
    for folder in ("labels/motion_shapes", "preds", "preds/.glus_hf/selector"):
        shares = done(tmp_path / "two" / folder)
        assert len(shares) == 2 and all(shares) and not shares[0] & shares[1]
        assert shares[0] | shares[1] == done(tmp_path / "one" / folder)[0]
