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
from tests.fixtures.vos_layouts import write_layout
from tests.models.glee.small_glee import small_model, small_processor


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
    options = ["--task", "detection", "--max-images", 1, "--names", "red circle, green square,red circle"]
    result = run(*coco, *options, "--json", "-q", "-o", tmp_path / "out")
    printed = json.loads(result.output.splitlines()[-1])
    assert printed["num_images"] == 1 and list(printed["totals"]) == ["box"]


ERRORS = {
    "--task pose": "--task pose is unknown; use detection, instance, referring, interactive, vis, tracking or vos",
    "--task vis": "the dataset has images, no videos; use --task instance or detection",
    "--task detection --threshold 0.1": "--threshold is of the tasks vis and tracking; leave it out",
    "--task referring --names car": "--names is of the tasks detection, instance, vis and tracking; leave it out",
    "--task referring --top-k 3": "--top-k is of the tasks detection, instance, vis and tracking; leave it out",
    "--task vis --protocol lvis": "--protocol is of the tasks detection and instance; leave it out",
    "--task vis --score-source text": "--score-source is of the task interactive; leave it out",
    "--task detection --names ,": "--names: there is no name in it; leave it out to look for all",
    "--task vos --threshold 0": "--task vos needs no --threshold; see glus-hf evaluate-vos",
    "--task vos --num-videos 1": "--task vos needs no --num-videos; see glus-hf evaluate-vos",
    "--task vos --score-source text": "--task vos needs no --score-source; see glus-hf evaluate-vos",
    "--task referring": "the objects of the dataset have no expressions; use --task detection",
    "--task vos --top-k 3": "--task vos needs no --top-k; see glus-hf evaluate-vos",
    "--task vos": "--layout coco is unknown; use davis, youtube-vos, mose",
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


# ---- videos


SHAPES = ["--dataset", "motion_shapes", "--split", "test", "--seed", 0, "--num-videos", 1, "--device", "cpu", "-q"]


def test_followed_objects_have_the_scores_of_youtube_vis(tmp_path):
    result = run(*SHAPES, "--task", "vis", "--json", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    printed = json.loads(result.output.splitlines()[-1])
    assert (printed["protocol"], printed["num_videos"]) == ("ytvis", 1) and printed["settings"]["top_k"] == 30
    assert printed["totals"]["AP50"] > 0.4 and printed["totals"]["AP"] < 1
    (line,) = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    assert json.loads(line) == {"video_id": "test_0_00000", "num_found": 30}
    before = tree(tmp_path / "out")
    assert run(*SHAPES, "--task", "vis", "-o", tmp_path / "out").exit_code == 0 and tree(tmp_path / "out") == before
    other = run(*SHAPES, "--task", "vis", "--threshold", 0.5, "-o", tmp_path / "out")
    assert other.exit_code == 2 and "holds a run with another threshold" in other.output


def test_tracking_has_hota(tmp_path):
    pytest.importorskip("trackeval", reason="needs the extra tracking")
    options = ["--task", "tracking", "--names", "red circle,green square,blue circle", "--json"]
    result = run(*SHAPES, *options, "-o", tmp_path / "out")
    printed = json.loads(result.output.splitlines()[-1])
    assert printed["protocol"] == "hota" and set(printed["totals"]) == {"names", "objects"}


@pytest.mark.parametrize("name", ["tao", "burst"])
def test_hota_of_tao_and_burst(name, tmp_path):
    pytest.importorskip("trackeval", reason="needs the extra tracking")
    root = renamed_tree(name, tmp_path)
    options = ["--dataset", name, "--data-dir", root, "--split", "train", "--device", "cpu", "--task", "tracking"]
    result = run(*options, "--json", "-q", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    printed = json.loads(result.output.splitlines()[-1])
    assert printed["num_videos"] == 1 and printed["totals"]["objects"]["HOTA"] > 0.3
    before = tree(tmp_path / "out")
    assert run(*options, "-o", tmp_path / "out").exit_code == 0 and tree(tmp_path / "out") == before


def test_tracking_without_its_library_is_one_line_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "trackeval.metrics", None)
    result = run(*SHAPES, "--task", "tracking", "-o", tmp_path / "out")
    assert result.exit_code == 2 and "pip install glus-hf[tracking]" in result.output and not os.listdir(tmp_path)


def test_given_masks_are_followed_as_by_evaluate_vos(tmp_path):
    write_layout(tmp_path / "davis", "davis", "val", num_videos=1, size=48, num_frames=3)
    small_model(seed=2).save_pretrained(tmp_path / "model")
    small_processor().save_pretrained(tmp_path / "model")
    common = ["--data-dir", tmp_path / "davis", "--model", tmp_path / "model", "--device", "cpu", "--json", "-q"]
    result = run("--dataset", "davis", "--task", "vos", *common, "-o", tmp_path / "out")
    summary = json.loads(result.output.splitlines()[-1])
    assert result.exit_code == 0 and 0 < summary["totals"]["semi"]["J&F"] < 1


LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "glus_hf.cli"]


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")
@pytest.mark.parametrize("task", ["vis", "vos"])
def test_two_processes_share_the_videos(task, tmp_path):
    if task == "vos":
        write_layout(tmp_path / "davis", "davis", "val", num_videos=2, size=48, num_frames=3)
        small_model(seed=2).save_pretrained(tmp_path / "model")
        small_processor().save_pretrained(tmp_path / "model")
        common = ["--dataset", "davis", "--data-dir", tmp_path / "davis", "--model", tmp_path / "model"]
    else:
        common = ["--dataset", "motion_shapes", "--split", "test", "--seed", 0, "--num-videos", 2]
        common += ["--data-option", "size=64", "--data-option", "num_frames=2"]
    common = [*map(str, common), "--task", task, "--device", "cpu", "-q"]
    assert run(*common, "-o", tmp_path / "one").exit_code == 0
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [*LAUNCH, "evaluate-objects", *common, "-o", str(tmp_path / "two")]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert tree(tmp_path / "two") == tree(tmp_path / "one")
    lines = [path.read_text().splitlines() for path in (tmp_path / "two" / ".glus_hf").glob("rank-*.jsonl")]
    assert [len(each) for each in lines] == [1, 1]


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")
def test_two_processes_make_the_same_files(coco, alone, tmp_path):
    command = [*LAUNCH]
    command += ["evaluate-objects", *map(str, coco), "--task", "instance", "-o", str(tmp_path / "out"), "-q", "--json"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert tree(tmp_path / "out") == tree(alone[0])
    lines = [path.read_text().splitlines() for path in (tmp_path / "out" / ".glus_hf").glob("rank-*.jsonl")]
    assert [len(each) for each in lines] == [1, 1]
