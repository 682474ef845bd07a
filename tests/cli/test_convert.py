"""`glus-hf convert` and `glus-hf export`, as a user runs them."""

import functools
import json
import os
import signal
import subprocess
import time

import pytest
from typer.testing import CliRunner

from glus_hf import GLUSConfig
from glus_hf.cli.main import app
from tests.models.glus.upstream_folders import (
    CHECKPOINT,
    CLIP,
    SAM2_CONFIG,
    load_folder,
    make_sam2_file,
    upstream_weights,
)
from tests.warm_python import warm_python


pytest.importorskip("sentencepiece")
SOURCE = ["--source", CHECKPOINT, "--clip", CLIP, "--sam2-config", SAM2_CONFIG]


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    output = tmp_path_factory.mktemp("converted") / "model"
    assert run("convert", *SOURCE, "--output", output, "--quiet").exit_code == 0
    return output


def test_convert_and_export(converted, tmp_path):
    result = run("export", converted, "--format", "upstream", "--output", tmp_path / "back", "--json", "--quiet")
    assert result.exit_code == 0 and result.stderr == ""
    summary = json.loads(result.stdout.splitlines()[-1])
    assert summary["output"] == str(tmp_path / "back") and summary["bytes"] > 5e6
    assert load_folder(tmp_path / "back").keys() == upstream_weights().keys()


def test_options(tmp_path):
    options = ["--compat", "paper", "--fuser-scale", "identity", "--no-multimask-fallback", "--dtype", "bfloat16"]
    result = run("convert", *SOURCE, "-o", tmp_path / "model", *options)
    assert result.exit_code == 0 and "Wrote" in result.stdout and "converting" in result.stderr
    config = GLUSConfig.from_pretrained(tmp_path / "model")
    assert (config.seg_hidden_state, config.fuser_scale, config.multimask_fallback) == (
        "penultimate",
        "identity",
        False,
    )


def test_starting_weights_and_another_sam2(tmp_path):
    sam2 = make_sam2_file(tmp_path / "sam2.pt")
    start = ["--llm", CHECKPOINT, "--sam2", sam2, "--clip", CLIP, "--sam2-config", SAM2_CONFIG, "--projection", "lisa"]
    assert run("convert", *start, "-o", tmp_path / "start").exit_code == 0
    assert run("convert", "--replace-sam2", sam2, "--model", tmp_path / "start", "-o", tmp_path / "b").exit_code == 0
    assert load_folder(tmp_path / "start").keys() == load_folder(tmp_path / "b").keys()


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "--source, --llm, --replace-sam2"),
        ([*SOURCE, "--llm", "x", "--sam2", "y"], "--source and --llm"),
        (["--llm", "x"], "--sam2"),
        (["--replace-sam2", "x"], "--model"),
        (["--replace-sam2", "x", "--model", "y", "--compat", "paper"], "--compat"),
        (["--replace-sam2", "x", "--model", "y", "--fuser-scale", "identity"], "--fuser-scale"),
        ([*SOURCE, "--compat", "none"], "compat"),
        ([*SOURCE, "--dtype", "int3"], "dtype"),
        (["--source", "nowhere", "--clip", CLIP], "nowhere"),
        (["--source", CHECKPOINT, "--clip", CLIP], "--sam2-config"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_errors_are_one_line(tmp_path, arguments, words):
    result = run("convert", *arguments, "--output", tmp_path / "output")
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1 and words in result.stderr
    assert not list(tmp_path.iterdir())


SLOW_DISK = """
import time
from glus_hf.conversion import weight_files
save = weight_files.save_file
def save_slowly(*args, **kwargs):
    save(*args, **kwargs)
    print("wrote", flush=True)
    time.sleep(60)
weight_files.save_file = save_slowly
from glus_hf.cli.main import main
main()
"""


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_ctrl_c_leaves_nothing(tmp_path):
    arguments = [str(argument) for argument in ("convert", *SOURCE, "-o", tmp_path / "output")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    listen = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a background job ignores Ctrl-C
    process = subprocess.Popen(
        [*warm_python(), "-c", SLOW_DISK, *arguments], env=environment, preexec_fn=listen, **pipes
    )
    assert process.stdout.readline() == "wrote\n"
    assert len(list(tmp_path.iterdir())) == 2  # a folder and its lock
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err
    assert not list(tmp_path.iterdir())
