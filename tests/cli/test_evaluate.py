"""`glus-hf evaluate`: the command of the README, its options, and one-line errors."""

import json
import os
import subprocess
import zipfile

import pytest
from typer.testing import CliRunner

from glus_hf.cli.main import app
from tests.evaluation.evaluation_data import DATASETS, tree
from tests.models.grounded.small_grounded import parts
from tests.paths import EXAMPLES
from tests.warm_python import warm_python


SMALL = ["--dataset", "motion_shapes", "--split", "test", "--device", "cpu"]
SMALL += ["--data-option", "size=48", "--data-option", "num_frames=4"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def in_folder(tmp_path, cache, monkeypatch):
    import datasets.config

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)


def run(*arguments):
    """Exit code, stdout and stderr."""
    result = CliRunner().invoke(app, ["evaluate", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_the_promised_command(tmp_path, cache):
    command = "evaluate --dataset motion_shapes --split test --seed 0 --num-videos 4 --model glus-tiny --json"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "HF_DATASETS_CACHE": str(cache)}
    result = subprocess.run(
        [*warm_python(), "-m", "glus_hf.cli", *command.split()],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    totals = json.loads(result.stdout.splitlines()[-1])
    assert totals["J&F"] == (totals["J"] + totals["F"]) / 2 and totals["J&F"] > 0.8
    assert totals["num_expressions"] == sum(kind["num_expressions"] for kind in totals["by_type"].values())
    assert {"static", "motion"} <= set(totals["by_type"])
    for kind in totals["by_type"].values():
        assert set(kind) == {"J", "F", "J&F", "num_expressions"}
    assert totals["missing_seg_frames"] == 0 and totals["output"] == "outputs/motion_shapes-test-seed0-glus-tiny"
    assert (tmp_path / totals["output"] / "summary.json").is_file()


def test_table_zip_and_plots(tmp_path):
    more = ["--num-videos", "1", "-o", "preds", "--zip", "out/shapes.zip", "--plots", "plots"]
    code, out, _ = run(*SMALL, *more)
    assert code == 0
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["motion_shapes", "expressions", "J", "F", "J&F"]
    assert rows[1][0] in ("static", "motion", "multi", "no_target")
    assert any(row[0] == "all" for row in rows if row)
    assert "Wrote out/shapes.zip" in out and "Wrote plots/worst.png" in out
    with zipfile.ZipFile("out/shapes.zip") as archive:
        pngs = {name for name in tree(tmp_path / "preds") if name.endswith(".png")}
        assert set(archive.namelist()) == pngs


def test_plots_and_archives_of_others_are_refused_before_the_work(monkeypatch):
    more = [*SMALL, "--num-videos", "1", "-o", "preds", "-q", "--zip", "shapes.zip", "--plots", "plots"]
    assert run(*more)[0] == 0
    assert run(*more)[0] == 0  # our own, like results.jsonl
    with open("plots/notes.txt", "w") as file:
        file.write("mine")
    monkeypatch.setattr("glus_hf.cli.evaluate.load_pipeline", lambda *arguments: pytest.fail("the work began"))
    code, _, err = run(*more)
    assert code == 2 and "plots: exists already and holds notes.txt, which is not a run's" in err
    code, _, err = run(*SMALL, "--num-videos", "1", "-o", "/proc/preds", "-q")
    assert code == 2 and "/proc/preds: cannot be written" in err


def test_memory_stride(tmp_path):
    """Another stride reads other memories; its masks do not join a folder of the model's own stride."""
    options = [*SMALL, "--data-option", "num_frames=8", "--num-videos", "1", "--quiet"]
    for name, more in (("own", []), ("own-3", ["--memory-stride", "3"]), ("other", ["--memory-stride", "1"])):
        assert run(*options, "-o", name, *more)[0] == 0
    own, same, other = ((tmp_path / name / "results.jsonl").read_text() for name in ("own", "own-3", "other"))
    assert own == same != other
    code, _, stderr = run(*options, "-o", "own", "--memory-stride", "1")
    assert code == 2 and stderr.count("\n") == 1


def test_propagation(tmp_path):
    """Plain SAM-2 has a folder of its own, and a run of the model's own way does not join it."""
    parts()[1].save_pretrained("sam2")
    options = [*SMALL, "--data-option", "num_frames=4", "--num-videos", "1", "--quiet"]
    carried = ["--propagation", "sam2", "--sam2-model", "sam2"]
    code, out, _ = run(*options, *carried, "--json")
    assert code == 0 and json.loads(out.splitlines()[-1])["output"].endswith("glus-tiny-sam2")
    assert run(*options, "-o", "own")[0] == 0
    code, _, stderr = run(*options, "-o", "own", *carried)
    assert code == 2 and stderr.count("\n") == 1 and "propagation" in stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--propagation", "xmem"], "--propagation xmem is unknown; use model or sam2"),
        (["--sam2-model", "some-sam2"], "--sam2-model goes with --propagation sam2"),
        (["--propagation", "sam2", "--sam2-model", "no-such-sam2"], "no-such-sam2: no such folder"),
        (["--propagation", "sam2"], "the model's own SAM-2 has other sizes"),
        (["--model", "glee-tiny", "--propagation", "sam2"], "a glee model has no SAM-2 of its own"),
    ],
)
def test_impossible_propagations(options, words):
    code, _, stderr = run(*SMALL, "--num-videos", "1", "--quiet", *options)
    assert code == 2 and words in stderr and stderr.count("\n") == 1


def test_selections_share_a_folder():
    code, out, _ = run(*SMALL, "--num-videos", "3", "-o", "preds", "--max-videos", "1", "--json", "-q")
    first = json.loads(out.splitlines()[-1])
    assert code == 0
    code, out, _ = run(*SMALL, "--num-videos", "3", "-o", "preds", "--videos", "test_0_00002", "--json", "-q")
    second = json.loads(out.splitlines()[-1])
    assert code == 0 and second["num_expressions"] != 0
    code, out, _ = run(*SMALL, "--num-videos", "3", "-o", "preds", "--json", "-q")
    everything = json.loads(out.splitlines()[-1])
    assert code == 0 and everything["num_expressions"] > first["num_expressions"] + second["num_expressions"]


def test_a_split_without_ground_truth(tmp_path):
    arguments = ["--dataset", "mevis", "--data-dir", str(DATASETS / "mevis"), "--split", "valid", "--device", "cpu"]
    code, out, _ = run(*arguments, "--zip", "mevis.zip", "-o", "preds")
    assert code == 0 and "3 expressions segmented; there is no ground truth" in out and "preds" in out
    with zipfile.ZipFile("mevis.zip") as archive:
        assert len(archive.namelist()) == 15 and archive.namelist()[0] == "0ab4afe7fb46/0/00000.png"
    code, out, _ = run(*arguments, "-o", "preds", "--json", "-q")
    assert code == 0 and "J" not in json.loads(out.splitlines()[-1])


def test_an_incomplete_tree_makes_no_archive():
    arguments = ["--num-videos", "2", "--max-videos", "1", "-o", "preds", "-q"]
    code, _, err = run(*SMALL, *arguments, "--zip", "shapes.zip")
    assert code == 2 and "the expression has no predictions" in err and not os.path.exists("shapes.zip")


def test_key_frames_from_a_file(tmp_path):
    (tmp_path / "key.json").write_text(json.dumps({"test_0_00000_0": 2}))
    code, _, _ = run(*SMALL, "--num-videos", "1", "-o", "preds", "-q", "--key-frames", "key.json")
    assert code == 0
    lines = [json.loads(line) for line in (tmp_path / "preds" / "results.jsonl").read_text().splitlines()]
    assert [line["key_frame"] for line in lines] == ["00002"] + ["00000"] * (len(lines) - 1)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--dataset", "nothing", "--split", "test"], "unknown dataset 'nothing'"),
        (["--dataset", "mevis", "--data-dir", "nowhere", "--split", "valid_u"], "nowhere"),
        ([*SMALL, "--data-option", "size"], "NAME=VALUE"),
        ([*SMALL, "--data-option", "colour=red"], "colour"),
        ([*SMALL, "--num-videos", "1", "--videos", "v"], "there is no video v in the split"),
        ([*SMALL, "--num-videos", "1", "--key-frame", "9"], "there is no key frame 9"),
        ([*SMALL, "--num-videos", "1", "--key-frames", "no.json"], "no.json: no such file"),
        ([*SMALL, "--num-videos", "1", "--model", "."], "config.json"),
        ([*SMALL, "--num-videos", "1", "--dtype", "int3"], "--dtype int3 is unknown"),
        ([*SMALL, "--num-videos", "1", "--device", "cuda:99"], "--device cuda:99 cannot be used"),
        ([*SMALL, "--num-videos", "1", "--protocol", "nothing"], "protocol 'nothing' is unknown"),
        ([*SMALL, "--num-videos", "1", "--on-error", "ignore"], "on_error must be one of raise, skip"),
        ([*SMALL, "--num-videos", "1", "--context-frames", "1,2"], "context_frames must be 4 indices"),
        ([*SMALL, "--num-videos", "1", "--zip", "a.tar"], "a submission is a .zip file"),
        (["--dataset", "revos", "--split", "valid", "--zip", "a.zip"], "revos has no submission server"),
    ],
)
def test_errors_are_one_line(arguments, words, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, out, err = run(*arguments, "-q")
    lines = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert code == 2 and out == "" and len(lines) == 1 and words in lines[0]


def test_other_settings_are_named():
    small = [*SMALL, "--num-videos", "1", "-o", "preds", "-q"]
    assert run(*small)[0] == 0
    code, _, err = run(*small, "--threshold", "0.5")
    assert code == 2 and "another threshold (0.0 then, 0.5 now); use another --output or --overwrite" in err
    assert run(*small, "--threshold", "0.5", "--overwrite")[0] == 0


def test_the_example(tmp_path):
    import runpy

    module = runpy.run_path(str(EXAMPLES / "evaluate_dataset.py"))
    totals = module["main"](str(tmp_path / "preds"), num_videos=1, size=48, num_frames=4)
    assert totals["J&F"] == (totals["J"] + totals["F"]) / 2 and (tmp_path / "preds" / "results.jsonl").is_file()
