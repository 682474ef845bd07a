"""`glus-hf evaluate-objects`: one process, two processes, and one-line errors."""

import json
import os
import subprocess
import sys

import pytest
import torch.distributed
from typer.testing import CliRunner

from glus_hf.cli.main import app
from tests.evaluation.evaluation_data import tree
from tests.evaluation.objects.object_runs import renamed_tree


def run(*arguments):
    return CliRunner().invoke(app, ["evaluate-objects", *map(str, arguments)])


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    root = renamed_tree("coco", tmp_path_factory.mktemp("coco"))
    return ["--dataset", "coco", "--data-dir", root, "--split", "train", "--device", "cpu"]


@pytest.fixture(scope="module")
def alone(coco, tmp_path_factory):
    output = tmp_path_factory.mktemp("alone") / "out"
    result = run(*coco, "--task", "instance", "-o", output, "--json", "-q")
    assert result.exit_code == 0, result.output
    return output, json.loads(result.output.splitlines()[-1])


def test_scores_and_files(coco, alone):
    output, printed = alone
    assert printed["num_images"] == 2 and printed["totals"]["mask"]["AP50"] > 0.5
    assert printed["settings"]["model"]["name"] == "glee-tiny" and printed["output"] == str(output)
    before, again = tree(output), run(*coco, "--task", "instance", "-o", output)
    assert again.exit_code == 0 and tree(output) == before
    ap = f"{100 * printed['totals']['box']['AP']:.1f}"
    assert any("box" in line and ap in line for line in again.output.splitlines()), again.output


def test_some_names_and_some_images(coco, tmp_path):
    options = ["--task", "detection", "--max-images", 1, "--names", "red circle, green square", "--json", "-q"]
    result = run(*coco, *options, "-o", tmp_path / "out")
    printed = json.loads(result.output.splitlines()[-1])
    assert printed["num_images"] == 1 and list(printed["totals"]) == ["box"]


ERRORS = {
    "--task vos": "--task vos is unknown; use detection, instance, referring, interactive",
    "--task detection --names unicorn": "--names: 'unicorn' is no name of coco; the first is 'red circle'",
    "--task detection --protocol voc": "the protocol 'voc' is unknown; use coco or lvis",
    "--task interactive --model glus-tiny": "does not take points",
}


@pytest.mark.parametrize("options", ERRORS)
def test_wrong_options_are_one_line(coco, tmp_path, options):
    result = run(*coco, *options.split(), "-q", "-o", tmp_path / "out")
    assert result.exit_code == 2 and ERRORS[options] in result.output
    assert len(result.output.splitlines()) == 1 and not os.listdir(tmp_path)


def test_no_output_inside_the_dataset(coco):
    result = run(*coco, "--task", "detection", "-q", "-o", coco[3] / "train2017" / "out")
    assert result.exit_code == 2 and len(result.output.splitlines()) == 1
    assert not (coco[3] / "train2017" / "out").exists()


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")
def test_two_processes_make_the_same_files(coco, alone, tmp_path):
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node=2",
        "-m",
        "glus_hf.cli",
    ]
    command += ["evaluate-objects", *map(str, coco), "--task", "instance", "-o", str(tmp_path / "out"), "-q", "--json"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert tree(tmp_path / "out") == tree(alone[0])
    lines = [path.read_text().splitlines() for path in (tmp_path / "out" / ".glus_hf").glob("rank-*.jsonl")]
    assert [len(each) for each in lines] == [1, 1]
